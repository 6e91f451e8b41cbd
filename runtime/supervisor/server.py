"""uvicorn on the control socket, ended by an event and deaf to signals: those are the supervisor's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette

LAST_ANSWERS_S: Final = 5  # for the last events of the streams that are open at the end


class ControlServer(uvicorn.Server):
    """Serves until ``finished`` is set; it wakes for nothing else, so an idle supervisor sleeps."""

    def __init__(self, config: uvicorn.Config, finished: asyncio.Event) -> None:
        super().__init__(config)
        self._finished = finished

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._finished.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def control_server(app: Starlette, finished: asyncio.Event) -> ControlServer:
    """Return the server of the control API."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )
    return ControlServer(config, finished)
