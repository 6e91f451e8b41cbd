"""What is simulated: the pool, its limits, and how long things take in it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Self

from runtime.core.events import ReplicaLimits, SchedulerLimits
from runtime.core.ring import point_of


@dataclass(frozen=True, slots=True)
class Span:
    """A duration in seconds: always ``low``, or anything up to ``high``, on a logarithmic scale."""

    low: float
    high: float = 0.0

    def drawn(self, share: float) -> float:
        """Return the duration at ``share`` (0 to 1) of the span."""
        if self.high <= self.low or self.low <= 0.0:
            return self.low + share * max(0.0, self.high - self.low)
        return exp(log(self.low) + share * (log(self.high) - log(self.low)))

    def of(self, name: str) -> float:
        """Return the duration that belongs to ``name``, ever the same."""
        return self.drawn((point_of(name) % 9973) / 9973)

    @property
    def mean(self) -> float:
        if self.high <= self.low:
            return self.low
        return (self.high - self.low) / log(self.high / self.low) if self.low > 0.0 else self.high / 2

    def __str__(self) -> str:
        return _brief(self.low) if self.high <= self.low else f"{_brief(self.low)} to {_brief(self.high)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the span written as ``0.1`` or ``0.1..3``. Raises ``ValueError``."""
        low, dots, high = text.partition("..")
        span = cls(float(low), float(high) if dots else 0.0)
        if not (isfinite(span.low) and isfinite(span.high)) or span.low < 0 or (dots and span.high < span.low):
            raise ValueError(text)
        return span


def _brief(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1.0 or seconds == 0.0 else f"{seconds * 1000:g} ms"


@dataclass(frozen=True, slots=True)
class Shape:
    """One deployment. Names and defaults are the configuration's where it has one; ``slots`` -1: unlimited.

    ``load_s`` belongs to each model, ``work_s`` is drawn for each request, ``delay_s`` is what a message takes.
    """

    replicas: int = 2
    slots: int = 3
    places: int = 5
    routers: int = 1
    max_batch: int = 1
    max_bytes: int | None = None
    max_queued_requests: int = -1
    max_concurrent_loads: int = 4
    eviction: str = "lru"
    swap_wait_s: float = 1.0
    drain_limit_s: float = 30.0
    idle_unload_s: float | None = None
    load_timeout_s: float = 300.0
    preload: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    copies: int | None = None
    load_s: Span = Span(1.0)
    work_s: Span = Span(0.01)
    unload_s: float = 0.0
    delay_s: float = 0.0002
    model_bytes: int = 0

    @property
    def pooled_slots(self) -> int:
        """The slots of all replicas together; -1: unlimited."""
        return -1 if self.slots < 0 else self.replicas * self.slots

    def replica_limits(self) -> ReplicaLimits:
        return ReplicaLimits(
            slots=(self.slots,),
            places=self.places,
            max_batch=self.max_batch,
            max_bytes=self.max_bytes,
            max_concurrent_loads=self.max_concurrent_loads,
            eviction=self.eviction,
            swap_wait_s=self.swap_wait_s,
            drain_limit_s=self.drain_limit_s,
            idle_unload_s=self.idle_unload_s,
            load_timeout_s=self.load_timeout_s,
        )

    def scheduler_limits(self) -> SchedulerLimits:
        return SchedulerLimits(max_queued_requests=self.max_queued_requests, drain_limit_s=self.drain_limit_s)

    def work_drawn(self, rng: random.Random) -> float:
        return self.work_s.low if self.work_s.high <= self.work_s.low else self.work_s.drawn(rng.random())

    def __str__(self) -> str:
        slots = f"{self.slots} slots" if self.slots >= 0 else "unlimited slots"
        routers = f", {self.routers} routers" if self.routers > 1 else ""
        return (
            f"{self.replicas} replicas, {slots} and {self.places} places each{routers}; "
            f"a load takes {self.load_s}, a request {self.work_s}"
        )
