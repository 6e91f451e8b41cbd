"""A replica's own link to a router, as a script has one: for calls while no router has a link to the replica.

Routers connect to replicas that are ready. Until then, as in ``__init__``, and while a router is started again, handle
calls go over this one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from runtime.errors import LinkLost, NoReplicas
from runtime.link.connection import Link
from runtime.link.endpoint import connect
from runtime.link.frames import MAGIC, VERSION, Hello
from runtime.serve.calls import OnlyCalls

PATIENCE_S: Final = 10.0  # how long a router may take to start
AGAIN_S: Final = 0.05


class RouterLink:
    """Made when it is needed, and again when it was lost. Without an address there is none."""

    def __init__(self, address: str, token: str, name: str, *, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._hello = Hello(MAGIC, VERSION, "handle", name, token)
        self._patience_s = patience_s
        self._link: Link | None = None
        self._connecting = asyncio.Lock()

    async def link(self) -> Link:
        """Return a link that lives; wait for a router that is starting. Raises ``NoReplicas`` when that takes long."""
        async with self._connecting:
            if self._link is None or not self._link.alive:
                self._link = await self._connected()
            return self._link

    def close(self) -> None:
        """Nothing is called any more."""
        if self._link is not None:
            self._link.close("the replica has stopped")

    async def _connected(self) -> Link:
        why = "it has no router"
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while self._address:
            try:
                return await connect(self._address, self._hello, OnlyCalls())
            except LinkLost as exc:
                why = exc.message
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(AGAIN_S)
        raise NoReplicas(f"no deployment can be called, as no router is connected: {why}", retry_after_s=1.0)
