"""uvicorn on the inherited sockets: started, drained and stopped by us, never by signals or prints of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn

from runtime.router.plain import PlainProtocol
from runtime.router.sweep import Sweepable

if TYPE_CHECKING:
    from runtime.router.admission import Admission
    from runtime.router.front import Application
    from runtime.router.guard import GuardedProtocol
    from runtime.router.sweep import Sweep

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
START_TIMEOUT_S: Final = 10.0
GRACE_S: Final = 3600  # the bound of a drain is the supervisor's: ``stop`` is given it


def _websocket(**settings: Any) -> asyncio.Protocol:
    """Return the protocol of one websocket. Most projects have none, and its library is slow to import."""
    from runtime.router.watched_websocket import WatchedWebsocket

    return WatchedWebsocket(**settings)


class Server(uvicorn.Server):
    """One public HTTP server. ``fast`` False: everything goes through ASGI."""

    def __init__(self, app: Application, admission: Admission, sweep: Sweep, *, fast: bool = True) -> None:
        protocol: type[GuardedProtocol] = PlainProtocol
        if not fast:
            from runtime.router.guard import GuardedProtocol as protocol
        http: Any = functools.partial(protocol, admission, sweep)
        super().__init__(
            uvicorn.Config(
                cast("Any", app),
                http=http,
                ws=cast("Any", _websocket),
                ws_max_size=MAX_MESSAGE_BYTES,
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                log_level=logging.ERROR,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._exit = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the process."""
        yield

    async def main_loop(self) -> None:
        """Keep the date header, once a second, until told to stop (uvicorn itself looks ten times a second)."""
        while not self._exit.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._exit.wait()

    def connections(self) -> list[Sweepable]:
        """Return the open HTTP connections."""
        return [c for c in self.server_state.connections if hasattr(c, "check")]  # type: ignore[misc]

    async def start(self, sockets: list[socket.socket]) -> None:
        """Serve on listening sockets. Raises ``TimeoutError`` if that does not begin."""
        self._task = asyncio.get_running_loop().create_task(self.serve(sockets), name="http server")
        async with asyncio.timeout(START_TIMEOUT_S):
            while not self.started:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.005)

    async def stop(self, deadline_s: float) -> bool:
        """Stop accepting, let requests end within ``deadline_s``, then close; return whether all had ended."""
        if self._task is None:
            return True
        self.should_exit = True
        self._exit.set()
        done, _ = await asyncio.wait({self._task}, timeout=deadline_s)
        if not done:
            self.force_exit = True
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.wait({self._task}, timeout=2.0)
        if self._task.done() and not self._task.cancelled() and (exc := self._task.exception()) is not None:
            raise exc
        return bool(done)
