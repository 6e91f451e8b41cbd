"""Durations in bounded memory: counts by logarithmic bucket."""

from __future__ import annotations

from math import exp, log
from typing import Final

STEP: Final = log(1.01)
"""Buckets grow by one per cent, so a percentile is right within half of one."""
FLOOR_S: Final = 1e-6
"""What is shorter counts as nothing."""


class Histogram:
    """How often something took how long; a range of a factor of a million needs 1,400 counters."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.max_s = 0.0
        self._none = 0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        if seconds < FLOOR_S:
            self._none += 1
            return
        self.total_s += seconds
        self.max_s = max(self.max_s, seconds)
        bucket = int(log(seconds / FLOOR_S) / STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def percentile(self, share: float) -> float:
        """Return the duration in seconds that ``share`` of all do not exceed; 0 if there are none."""
        rank = min(self.count - 1, int(share * self.count))
        if rank < self._none:
            return 0.0
        seen = self._none
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return min(self.max_s, FLOOR_S * exp((bucket + 0.5) * STEP))
        return self.max_s

    @property
    def mean_s(self) -> float:
        return self.total_s / self.count if self.count else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return mean, p50, p90, p99 and max in seconds."""
        shares = {f"p{share}": self.percentile(share / 100) for share in (50, 90, 99)}
        values = {"mean": self.mean_s, **shares, "max": self.max_s}
        return {name: round(value, 6) for name, value in values.items()}
