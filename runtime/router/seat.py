"""What stands between a client's connection and what uvicorn, ASGI and the sweep see of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from runtime.router.front import Guest
    from runtime.router.guard import GuardedProtocol
    from runtime.router.sweep import Sweep


class WatchedFlow(FlowControl):
    """Has the sweep look after a client that is not read from: its leaving would go unnoticed."""

    def __init__(self, transport: asyncio.Transport, protocol: GuardedProtocol, sweep: Sweep) -> None:
        super().__init__(transport)
        self._protocol = protocol
        self._sweep = sweep

    def pause_reading(self) -> None:
        super().pause_reading()
        self._sweep.paused[self._protocol] = None

    def resume_reading(self) -> None:
        super().resume_reading()
        self._sweep.paused.pop(self._protocol, None)


class AsgiSeat:
    """One ASGI request's view of its connection, and its cycle's transport: closing may linger."""

    def __init__(self, protocol: GuardedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._transport = protocol.transport

    # --- for uvicorn's cycle

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._protocol.close_after_answer(self._cycle.more_body)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    # --- Connection

    @property
    def guest(self) -> Guest | None:
        return self._protocol.guest

    @guest.setter
    def guest(self, guest: Guest | None) -> None:
        self._protocol.guest = guest

    @property
    def body_open(self) -> bool:
        return self._cycle.more_body

    def reading(self, waits: bool) -> None:
        self._protocol.reading_since = self._protocol.clock() if waits else 0.0

    def finish(self) -> None:
        self._cycle.keep_alive = False

    def abort(self) -> None:
        self._cycle.disconnected = True
        self._transport.close()
