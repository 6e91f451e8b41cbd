"""The sums of a repeated request: how many hit and loaded, and the usual times."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mux_cli.exchange import Answer


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of ``values`` (0 < share <= 1); 0 if there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(slots=True)
class Tally:
    """Counts answers as they come."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    replicas: Counter[str] = field(default_factory=Counter)
    failed: int = 0

    def add(self, answer: Answer) -> None:
        self.ms.append(answer.ms)
        self.statuses[answer.status] += 1
        self.failed += not answer.ok
        if cache := answer.header("x-mux-cache"):
            self.cache[cache] += 1
        if replica := answer.header("x-mux-replica"):
            self.replicas[replica] += 1

    def to_payload(self) -> dict[str, Any]:
        """Return the sums with their names, times in milliseconds."""
        return {
            "requests": len(self.ms),
            "failed": self.failed,
            "hits": self.cache["hit"],
            "loads": self.cache["load"],
            "waits": self.cache["wait"],
            "p50_ms": round(percentile(self.ms, 0.5), 3),
            "p99_ms": round(percentile(self.ms, 0.99), 3),
            "max_ms": round(max(self.ms, default=0.0), 3),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "replicas": dict(sorted(self.replicas.items())),
        }

    def to_text(self) -> str:
        """Return the sums as two or three lines for a person."""
        sums = self.to_payload()
        lines = [
            f"{sums['requests']} requests · {sums['failed']} failed · {sums['hits']} hits · {sums['loads']} loads"
            f" · {sums['waits']} waited for a load",
            f"p50 {sums['p50_ms']:.1f} ms · p99 {sums['p99_ms']:.1f} ms · max {sums['max_ms']:.1f} ms",
        ]
        if self.failed:
            lines.append("statuses: " + ", ".join(f"{status} x {n}" for status, n in sums["statuses"].items()))
        if self.replicas:
            lines.append("served by: " + ", ".join(f"{name} x {n}" for name, n in sums["replicas"].items()))
        return "\n".join(lines)
