"""Requests as the simulator sees them: when each arrives, and which model it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Final, NamedTuple, Protocol

HOLD_S: Final = 60.0
"""How much later than an arrival its line may stand in a trace: routers log a request when it ends."""
HELD: Final = 200_000
"""Arrivals that are held at most; beyond, the oldest goes on although an older one could still follow."""


class Arrival(NamedTuple):
    """One request. ``at`` is in seconds on the trace's own clock; ``model`` None names none."""

    at: float
    model: str | None


class Trace(Protocol):
    """Requests in the order of their arrival. Can be gone through again and again, each time the same."""

    name: str

    def __iter__(self) -> Iterator[Arrival]: ...


class First:
    """The first ``count`` requests of a trace."""

    def __init__(self, trace: Trace, count: int) -> None:
        self.name = trace.name
        self._trace = trace
        self._count = count

    def __iter__(self) -> Iterator[Arrival]:
        return islice(iter(self._trace), self._count)


def in_order(lines: Iterable[tuple[float, Arrival]]) -> Iterator[Arrival]:
    """Yield arrivals by time, from (time of the line, arrival) in the order of lines; memory is bounded by ``HELD``.

    What comes too late for its place comes at once, with the time of its predecessor.
    """
    held: list[tuple[float, int, Arrival]] = []
    last = float("-inf")
    for number, (written, arrival) in enumerate(lines):
        heappush(held, (arrival.at, number, arrival))
        while held and (held[0][0] <= written - HOLD_S or len(held) > HELD):
            ready = heappop(held)[2]
            last = max(last, ready.at)
            yield Arrival(last, ready.model)
    while held:
        ready = heappop(held)[2]
        last = max(last, ready.at)
        yield Arrival(last, ready.model)
