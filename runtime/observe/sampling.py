"""How many request lines a second are written: a token bucket that is refilled when the log is flushed."""

from __future__ import annotations


class Budget:
    """Lets ``rate`` lines a second through, with bursts of up to one second's worth.

    The hot path reads and writes ``tokens`` itself; no clock is read per line.
    """

    __slots__ = ("_filled_at", "rate", "skipped", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.tokens = rate
        self.skipped = 0  # lines that found no token since the last report
        self._filled_at = now

    def take(self) -> bool:
        """Take a token; without one, count the line as skipped and return False."""
        if self.tokens < 1.0:
            self.skipped += 1
            return False
        self.tokens -= 1.0
        return True

    def refill(self, now: float) -> None:
        """Add what the time since the last call is worth; a clock that went backwards adds nothing."""
        elapsed = max(0.0, now - self._filled_at)
        self._filled_at = now
        self.tokens = min(self.rate, self.tokens + elapsed * self.rate)
