"""Drawn traffic: Zipf, uniform and hot mixes, with a Poisson clock. The same seed draws the same requests."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from runtime.simulate.arrivals import Arrival, Trace

ONCE = "once-"  # begins the names of models that are never asked for again


@dataclass(frozen=True, slots=True)
class Mix:
    """How popular models are.

    Of ``models`` models the one of rank r is asked for with weight r^-``exponent`` (0: all alike). ``hot`` is the
    share of all requests that one further model takes for itself, ``scan`` the share whose model is never asked for
    again. Every ``drift`` requests the ranks move on by one model: what was popular slowly ceases to be (0: never).
    """

    models: int = 64
    exponent: float = 1.0
    hot: float = 0.0
    scan: float = 0.0
    drift: int = 0

    @property
    def name(self) -> str:
        parts = [f"zipf {self.exponent:g}" if self.exponent else "uniform", f"over {self.models} models"]
        parts += [f"{self.hot:.0%} for one hot model"] * (self.hot > 0)
        parts += [f"{self.scan:.0%} for models never asked for again"] * (self.scan > 0)
        parts += [f"ranks move every {self.drift} requests"] * (self.drift > 0)
        return ", ".join(parts)


class Synthetic:
    """``count`` requests drawn from a mix, at ``rate`` a second."""

    def __init__(self, mix: Mix, *, count: int, rate: float, seed: int) -> None:
        self.name = f"{mix.name}, seed {seed}"
        self._mix = mix
        self._count = count
        self._rate = rate
        self._seed = seed

    def __iter__(self) -> Iterator[Arrival]:
        mix, draw = self._mix, random.Random(self._seed)
        clock = random.Random(self._seed + 1)  # of its own: another rate leaves the order of models as it is
        cumulative = list(accumulate((rank + 1) ** -mix.exponent for rank in range(mix.models)))
        total, now = cumulative[-1], 0.0
        for number in range(self._count):
            now += clock.expovariate(self._rate)
            rank = bisect(cumulative, draw.random() * total)
            kind = draw.random() if mix.hot or mix.scan else 1.0
            if kind < mix.hot:
                model = "hot"
            elif kind < mix.hot + mix.scan:
                model = f"{ONCE}{number}"
            else:
                moved = number // mix.drift if mix.drift else 0
                model = str((rank + moved) % mix.models)
            yield Arrival(now, model)


class Retimed:
    """A trace's models in their order, at ``rate`` a second instead of when they came."""

    def __init__(self, trace: Trace, *, rate: float, seed: int) -> None:
        self.name = f"{trace.name}, at {rate:g} requests/s instead"
        self._trace = trace
        self._rate = rate
        self._seed = seed

    def __iter__(self) -> Iterator[Arrival]:
        clock, now = random.Random(self._seed), 0.0
        for arrival in self._trace:
            now += clock.expovariate(self._rate)
            yield Arrival(now, arrival.model)
