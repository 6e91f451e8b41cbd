"""Two yardsticks for a pool: one cache of all its slots, with hindsight and with the simplest policy.

Both serve a trace strictly in its order and load once per miss. A pool that lets requests for one model wait for
each other's load, and serves them together, can stay below either.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from runtime.simulate.arrivals import Arrival

NEVER: Final = 0xFFFFFFFF


class Yardstick(NamedTuple):
    """How many of ``requests`` were not served from a cache of ``slots`` (-1: unlimited)."""

    name: str
    slots: int
    requests: int
    misses: int

    @property
    def misses_per_100(self) -> float:
        return 100.0 * self.misses / self.requests if self.requests else 0.0

    @property
    def hit_rate(self) -> float:
        return 1.0 - self.misses / self.requests if self.requests else 1.0


def pooled_lru(trace: Iterable[Arrival], slots: int) -> Yardstick:
    """Return what one LRU cache of ``slots`` misses."""
    held: OrderedDict[str, None] = OrderedDict()
    requests = misses = 0
    for _, model in trace:
        if model is None:
            continue
        requests += 1
        if model in held:
            held.move_to_end(model)
            continue
        misses += 1
        held[model] = None
        if len(held) > slots >= 0:
            held.popitem(last=False)
    return Yardstick("pooled lru", slots, requests, misses)


def belady(trace: Iterable[Arrival], slots: int) -> Yardstick:
    """Return the fewest misses that any order of eviction could have (Belady's MIN, IBM Systems Journal 1966).

    The model whose next use lies furthest ahead goes. Takes 8 bytes for each request of the trace.
    """
    numbers: dict[str, int] = {}
    models = array("I", (numbers.setdefault(model, len(numbers)) for _, model in trace if model is not None))
    if slots < 0 or len(numbers) <= slots:
        return Yardstick("belady", slots, len(models), len(numbers))
    nexts = _next_uses(models, len(numbers))
    due = array("I", bytes(4 * len(numbers)))  # of each model that is held: its next use; 0: not held
    furthest: list[tuple[int, int]] = []  # (minus the next use, model); what has changed since is passed over
    held = misses = 0
    for at, model in enumerate(models):
        if not due[model]:
            misses += 1
            if held == slots:
                _evict(furthest, due)
                held -= 1
            held += 1
        due[model] = nexts[at]
        heappush(furthest, (-nexts[at], model))
    return Yardstick("belady", slots, len(models), misses)


def _evict(furthest: list[tuple[int, int]], due: array[int]) -> None:
    while True:
        use, model = heappop(furthest)
        if due[model] == -use:
            due[model] = 0
            return


def _next_uses(models: array[int], count: int) -> array[int]:
    """Return for each request when its model is asked for next."""
    after = array("I", [NEVER]) * count
    nexts = array("I", bytes(4 * len(models)))
    for at in range(len(models) - 1, -1, -1):
        nexts[at] = after[models[at]]
        after[models[at]] = at
    return nexts
