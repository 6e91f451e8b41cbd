"""One timer for all that would otherwise need one each: deadlines, idle connections, clients that left unseen."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from runtime.router.settings import SWEEP_S

if TYPE_CHECKING:
    from runtime.router.desk import Desk

_CONNECTIONS_EVERY: Final = 10  # sweeps between looks at every connection


class Sweepable(Protocol):
    """A client's connection."""

    def check(self, now: float) -> None:
        """Close it if it has been idle, or has been sending a head or body, for too long."""

    def fileno(self) -> int:
        """Return the socket's number, -1 once it is closed."""

    def left(self) -> None:
        """The client has left, which nobody noticed because reading is paused."""


class Sweep:
    """Runs every 50 ms. ``paused``: connections that are not read from, whose loss only the kernel knows of."""

    def __init__(self, desk: Desk, connections: Callable[[], Iterable[Sweepable]], period_s: float = SWEEP_S) -> None:
        self.paused: dict[Sweepable, None] = {}
        self._desk = desk
        self._connections = connections
        self._period_s = period_s
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self.tasks: list[Callable[[], None]] = []  # further things to do at every look at the connections

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period_s, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.start()
        self.run(self._desk.clock())

    def run(self, now: float) -> None:
        """Look once at everything that is due at ``now``."""
        for exchange in [e for e in self._desk.timed if e.deadline <= now]:
            exchange.expire()
        if self.paused:
            self._find_gone()
        self._count += 1
        if self._count % _CONNECTIONS_EVERY == 0:
            for connection in list(self._connections()):
                connection.check(now)
            for task in self.tasks:
                task()

    def _find_gone(self) -> None:
        by_fd = {connection.fileno(): connection for connection in self.paused}
        by_fd.pop(-1, None)
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLRDHUP)
        for fd, _ in poll.poll(0):
            by_fd[fd].left()
