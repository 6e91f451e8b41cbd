"""The miss-ratio curve: which share of a trace's requests a pool of any number of slots would hit.

Exact for up to ``SAMPLED`` models. Beyond, a fixed number of models stands for all, chosen by the hash of their id
(SHARDS: Waldspurger, Park, Garthwaite, Ahmad: Efficient MRC construction with SHARDS, FAST 2015; here its fixed-size
form with the adjustment of section 4.3): memory and time stay bounded however long the trace is.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Final

from runtime.simulate.arrivals import Arrival
from runtime.simulate.stack_distance import StackDistances

SAMPLED: Final = 32_768
SPACE: Final = 1 << 24


def hash_of(model: str) -> int:
    """Return where in ``SPACE`` a model lies, the same in every process."""
    return int.from_bytes(blake2b(model.encode(), digest_size=3).digest())


class MissRatioCurve:
    """Hits by slots. ``requests`` counts those that name a model, ``models`` different ids (an estimate if sampled)."""

    def __init__(self, hits: dict[int, float], *, requests: int, models: int, rate: float) -> None:
        self.requests = requests
        self.models = models
        self.rate = rate  # the share of all models that was looked at; 1.0: the curve is exact
        self._slots: list[int] = sorted(hits)
        self._rates: list[float] = []
        total = 0.0
        for slots in self._slots:
            total += hits[slots]
            self._rates.append(min(1.0, max(0.0, total / requests)) if requests else 0.0)

    @classmethod
    def of(cls, trace: Iterable[Arrival], *, sampled: int = SAMPLED) -> MissRatioCurve:
        """Return the curve of a trace, from at most ``sampled`` different models."""
        return _Sampler(sampled).read(trace)

    def hit_rate(self, slots: int) -> float:
        """Return the share of requests that an LRU cache of ``slots`` hits; -1: unlimited."""
        if slots < 0:
            return self.best
        low, high = 0, len(self._slots)
        while low < high:
            middle = (low + high) // 2
            if self._slots[middle] <= slots:
                low = middle + 1
            else:
                high = middle
        return self._rates[low - 1] if low else 0.0

    @property
    def best(self) -> float:
        """The hit rate without limit: only each model's first request misses."""
        return self._rates[-1] if self._rates else 0.0

    def slots_for(self, hit_rate: float) -> int | None:
        """Return the fewest slots that reach ``hit_rate``; None if none do."""
        return next((s for s, rate in zip(self._slots, self._rates, strict=True) if rate >= hit_rate), None)

    @property
    def most(self) -> int:
        """The slots beyond which nothing is gained."""
        return max(1, self._slots[-1]) if self._slots else 1

    def points(self, limit: int = 200) -> list[tuple[int, float]]:
        """Return (slots, hit rate) at up to ``limit`` sizes, spaced by ratio."""
        sizes: list[int] = []
        size = 1.0
        step = max(1.01, self.most ** (1.0 / limit))
        while round(size) < self.most:
            if not sizes or round(size) > sizes[-1]:
                sizes.append(round(size))
            size = max(size * step, size + 1.0 if size < 10 else 0.0)
        return [(slots, self.hit_rate(slots)) for slots in [*sizes, self.most]]


class _Sampler:
    """Keeps the models with the lowest hashes; each request of one counts for as many as were not looked at."""

    def __init__(self, sampled: int) -> None:
        self._limit = max(1, sampled)
        self._stack = StackDistances()
        self._below = SPACE  # models with a lower hash are looked at
        self._highest: list[tuple[int, str]] = []  # the sampled models, the highest hash first
        self._weights: dict[int, float] = {}
        self._counted = 0.0

    def read(self, trace: Iterable[Arrival]) -> MissRatioCurve:
        requests = 0
        for _, model in trace:
            if model is None:
                continue
            requests += 1
            where = hash_of(model)
            if where < self._below:
                self._use(model, where)
        rate = self._below / SPACE
        self._adjust(requests)
        models = round(len(self._stack) / rate)
        return MissRatioCurve(self._weights, requests=requests, models=models, rate=rate)

    def _use(self, model: str, where: int) -> None:
        scale = SPACE / self._below
        distance = self._stack.use(model)
        self._counted += scale
        if distance:
            slots = round(distance * scale)
            self._weights[slots] = self._weights.get(slots, 0.0) + scale
            return
        heappush(self._highest, (-where, model))
        if len(self._stack) > self._limit:
            self._below = -self._highest[0][0]
            while self._highest and -self._highest[0][0] >= self._below:
                self._stack.forget(heappop(self._highest)[1])

    def _adjust(self, requests: int) -> None:
        """Count what the sample holds too little or too much as hits of the smallest cache: those of hot models."""
        if self._below < SPACE and self._weights:
            first = min(self._weights)
            self._weights[first] += requests - self._counted
