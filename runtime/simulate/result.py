"""What a simulated run came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from runtime.simulate.histogram import Histogram


@dataclass(slots=True)
class Result:
    """One run. ``hits``: requests whose model was in memory somewhere when they arrived, of ``keyed`` that named one.

    ``waits``: from arrival until user code begins, ``latencies``: until its answer; both of requests that were served.
    ``seconds`` is virtual time from the first arrival to the last answer, ``cpu_s`` what the run cost here.
    """

    policy: str
    requests: int = 0
    keyed: int = 0
    hits: int = 0
    loads: int = 0
    evictions: int = 0
    deaths: int = 0
    events: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    waits: Histogram = field(default_factory=Histogram)
    latencies: Histogram = field(default_factory=Histogram)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def hit_rate(self) -> float:
        return self.hits / self.keyed if self.keyed else 1.0

    @property
    def loads_per_100(self) -> float:
        return 100.0 * self.loads / self.requests if self.requests else 0.0

    @property
    def rate(self) -> float:
        """Requests answered per second of virtual time."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        """Requests that failed; a client that left is none."""
        return sum(count for code, count in self.failed.items() if code != "client_gone")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON; durations are seconds."""
        return {
            "policy": self.policy,
            "requests": self.requests,
            "hit_rate": round(self.hit_rate, 4),
            "loads": self.loads,
            "loads_per_100": round(self.loads_per_100, 2),
            "evictions": self.evictions,
            "deaths": self.deaths,
            "requests_per_s": round(self.rate, 2),
            "seconds": round(self.seconds, 6),
            "wait_s": self.waits.to_dict(),
            "latency_s": self.latencies.to_dict(),
            "failed": dict(sorted(self.failed.items())),
            "cpu_s": round(self.cpu_s, 2),
        }
