"""Counts of one deployment, as plain integers: they become Prometheus families only when somebody looks."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
MAX_MODELS: Final = 100
OTHER: Final = "other"


class Histogram:
    """Counts of milliseconds per bucket; the last bucket is all above the last bound."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0.0

    def observe(self, ms: float) -> None:
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1
        self.total_ms += ms


class Tally:
    """What a deployment answered. ``by_model`` holds at most ``MAX_MODELS`` names; the rest count as "other"."""

    __slots__ = ("by_cache", "by_model", "by_status", "calls", "failed", "latency", "queued")

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.by_cache: dict[str, int] = {"hit": 0, "load": 0, "wait": 0}
        self.by_model: dict[str, int] = {}
        self.calls = 0  # by deployment handles
        self.failed = 0  # given up by the scheduler
        self.latency = Histogram()
        self.queued = Histogram()

    @property
    def handled(self) -> int:
        """Requests that were answered and calls that came."""
        return self.calls + sum(self.by_status.values())

    def count(self, status: int, cache: str, model: str, ms: float, queue_ms: float) -> None:
        by_status, by_model = self.by_status, self.by_model
        by_status[status] = by_status.get(status, 0) + 1
        if cache:
            self.by_cache[cache] = self.by_cache.get(cache, 0) + 1
        if model:
            if model not in by_model:
                model = model if len(by_model) < MAX_MODELS else OTHER
                by_model.setdefault(model, 0)
            by_model[model] += 1
        self.latency.observe(ms)
        if queue_ms:
            self.queued.observe(queue_ms)
        else:
            self.queued.counts[0] += 1
