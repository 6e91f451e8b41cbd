"""What every way to other deployments has in common: a link is found, and the call made over it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from runtime.link.connection import Link
from runtime.serve import calls
from runtime.serve.context import Call


class LinkTransport(ABC):
    """A ``CallTransport`` over links. Subclasses say which."""

    pack = staticmethod(calls.pack)

    @property
    @abstractmethod
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of its links."""

    @abstractmethod
    def link_now(self, deployment: str) -> Link | None:
        """Return a link to ``deployment`` that lives; None: there is none yet."""

    @abstractmethod
    async def link(self, deployment: str) -> Link:
        """Return a link to ``deployment``, made if need be."""

    def start(self, call: Call) -> asyncio.Future[object] | None:
        link = self.link_now(call.deployment)
        return calls.start(link, call) if link is not None else None

    async def call(self, call: Call) -> object:
        answer = calls.start(await self.link(call.deployment), call)
        del call  # and with it its arguments, which are on their way
        return await answer

    async def stream(self, call: Call) -> AsyncIterator[object]:
        items = calls.stream(await self.link(call.deployment), call)
        del call
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
