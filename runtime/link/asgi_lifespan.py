"""The lifespan of an ASGI application: its startup before the first request, its shutdown after the last."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.errors import StartError
from runtime.link.asgi import ASGI_VERSION, Message


class Lifespan:
    """Drives one application's lifespan. An application that does not know lifespans runs without one."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._failure = ""
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self.state: dict[str, Any] = {}

    async def startup(self, timeout_s: float = 300.0) -> None:
        """Run the application's startup. Raises ``StartError`` or what the application raised."""
        self._task = asyncio.create_task(self._run(), name="lifespan")
        self._inbox.put_nowait({"type": "lifespan.startup"})
        async with asyncio.timeout(timeout_s):
            await self._started.wait()
        if self._failure:
            await asyncio.wait([self._task], timeout=1.0)  # it raises, a moment after it has said so
            raise self._error or StartError(f"the application's startup failed: {self._failure}")

    async def shutdown(self, timeout_s: float = 20.0) -> None:
        """Run the application's shutdown and wait for it. Raises what it raised, or ``RuntimeError``."""
        if self._task is None:
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        done, _ = await asyncio.wait([self._task], timeout=timeout_s)
        if not done:
            self._task.cancel()
            raise RuntimeError(f"the application's shutdown took more than {timeout_s:g} s")
        if self._failure:
            raise self._error or RuntimeError(f"the application's shutdown failed: {self._failure}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI_VERSION, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception as exc:
            self._error = exc
            if self._started.is_set():  # before that it means: this application knows no lifespan
                self._failure = self._failure or f"{type(exc).__name__}: {exc}"
        finally:
            self._started.set()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._failure = message.get("message") or kind
        if kind.startswith("lifespan.startup"):
            self._started.set()
