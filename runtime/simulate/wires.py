"""What carries messages between simulated routers and replicas, and what wakes either."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.simulate.pool import Pool
    from runtime.simulate.shells import Replica, Router


class Wire:
    """One direction of a link: messages arrive in order, each after a delay; none after it is cut."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._last = 0.0
        self.cut = False

    def send(self, deliver: Callable[..., None], *message: Any) -> None:
        """Have ``deliver`` called with ``message`` when it arrives."""
        pool = self._pool
        when = pool.now + pool.durations.delay_s()
        if when > self._last:
            self._last = when
        pool.on_the_way += 1
        pool.at(self._last, self._deliver, deliver, message)

    def _deliver(self, deliver: Callable[..., None], message: tuple[Any, ...]) -> None:
        self._pool.on_the_way -= 1
        if not self.cut:
            deliver(*message)


class Link:
    """The two wires between a router and a replica; ``number`` is its id at the replica."""

    def __init__(self, pool: Pool, router: Router, replica: Replica) -> None:
        self.number = router.number
        self.router = router
        self.replica = replica
        self.down = Wire(pool)
        self.up = Wire(pool)


class Waker:
    """Wakes one state machine at the deadline that it names."""

    def __init__(self, pool: Pool, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._at: float | None = None

    def set(self, when: float | None) -> None:
        if when is None or (self._at is not None and self._at <= when and self._at > self._pool.now):
            return
        self._at = when
        self._pool.at(when, self._ring, when)

    def _ring(self, when: float) -> None:
        if self._at == when:
            self._at = None
            self._wake()
