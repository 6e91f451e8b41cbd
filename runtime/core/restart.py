"""When a child that died is started again, and when not. Pure: ``now`` is passed in."""

from __future__ import annotations


class RestartPolicy:
    """Decides the delay after each death of one child; one instance lives as long as the child's slot.

    The delay grows by ``factor`` from ``base_s`` to ``max_s`` and falls back once a child has been ready for
    ``healthy_after_s``. A slot that was ready once is never given up, since what keeps it from starting (a full
    disk, a store that is down, a broken edit) may pass while nobody looks. In one that never was, a child that
    cannot start (its own code says so) is given up at once, one that dies starting without a word after
    ``max_start_failures`` starts.
    """

    def __init__(
        self,
        *,
        base_s: float = 0.2,
        factor: float = 2.0,
        max_s: float = 30.0,
        healthy_after_s: float = 10.0,
        max_start_failures: int = 5,
    ) -> None:
        self._base_s = base_s
        self._factor = factor
        self._max_s = max_s
        self._healthy_after_s = healthy_after_s
        self._max_start_failures = max_start_failures
        self._next_s = base_s  # the delay after the next death
        self._ready_at: float | None = None  # since when the running child is ready
        self._was_ready = False  # some child of this slot has been ready
        self.start_failures = 0  # deaths in a row before ready
        self.restarts = 0  # deaths that were answered with a delay

    def started(self, now: float) -> None:
        """Note that a child was spawned."""
        self._ready_at = None

    def ready(self, now: float) -> None:
        """Note that the child finished its handshake."""
        self._ready_at = now
        self._was_ready = True
        self.start_failures = 0

    def died(self, now: float, could_not_start: bool) -> float | None:
        """Return the seconds until the next start, or None to give up.

        ``could_not_start``: the child said itself that it cannot (import error, bad loader), or ended with
        the exit code that means so.
        """
        if self._ready_at is None:
            self.start_failures += 1
            hopeless = could_not_start or self.start_failures >= self._max_start_failures
            if hopeless and not self._was_ready:
                return None
        elif now - self._ready_at >= self._healthy_after_s:
            self._next_s = self._base_s
        self._ready_at = None
        delay = self._next_s
        self._next_s = min(self._max_s, delay * self._factor)
        self.restarts += 1
        return delay

    def __repr__(self) -> str:
        return f"<RestartPolicy next={self._next_s:g}s failures={self.start_failures} restarts={self.restarts}>"
