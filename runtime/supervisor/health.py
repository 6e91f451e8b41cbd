"""Whether a child answers, and what to conclude when it does not. Pure: ``now`` is passed in.

Silence is suspicion, for a load may hold the interpreter for minutes. What ends a child is its own health check
saying no, or a silence longer than any load may take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES_TO_END: Final = 3  # of the health check, in a row


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """``period_s`` between pings; ``timeout_s``: later is silence; ``patience_s``: after that it is hung."""

    period_s: float
    timeout_s: float
    patience_s: float


class Health:
    """The pings of one child and what its answers mean."""

    def __init__(self, limits: HealthLimits, now: float) -> None:
        self.limits = limits
        self._asked_at: float | None = None  # since when a ping is unanswered
        self._idle_since = now
        self._seq = 0
        self._failures = 0
        self.suspect = False
        self.verdict = ""  # why it must end; empty while it need not

    def deadline(self) -> float:
        """Return when ``tick`` has something to do next."""
        if self._asked_at is None:
            return self._idle_since + self.limits.period_s
        return self._asked_at + (self.limits.patience_s if self.suspect else self.limits.timeout_s)

    def tick(self, now: float) -> int | None:
        """Return the number of a ping to send now; sets ``suspect`` and ``verdict``."""
        if self._asked_at is None:
            if now < self._idle_since + self.limits.period_s:
                return None
            self._asked_at = now
            self._seq += 1
            return self._seq
        silent_s = now - self._asked_at
        self.suspect = silent_s >= self.limits.timeout_s
        if silent_s >= self.limits.patience_s:
            self.verdict = f"did not answer for {silent_s:.0f} s"
        return None

    def pong(self, seq: int, healthy: bool, message: str, now: float) -> None:
        """Take an answer; one to an earlier ping is ignored."""
        if seq != self._seq or self._asked_at is None:
            return
        self._asked_at = None
        self._idle_since = now
        self.suspect = False
        self._failures = 0 if healthy else self._failures + 1
        if self._failures >= FAILURES_TO_END:
            self.verdict = f"failed its health check {self._failures} times: {message}"
