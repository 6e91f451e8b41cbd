"""The smallest pool that meets a target: a search over pool sizes, each tried by a simulated run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, Literal

from runtime.simulate.arrivals import Arrival
from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.result import Result
from runtime.simulate.shape import Shape

BEYOND: Final = 4
"""How many times the replicas that hold every model and all the work at once are tried before giving up."""
Dimension = Literal["replicas", "slots"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a pool must reach. ``p99_s`` is of the wait from a request's arrival until user code begins."""

    hit_rate: float | None = None
    p99_s: float | None = None

    def met(self, result: Result) -> bool:
        """Return whether a run reached it; one in which requests failed for want of capacity did not."""
        if result.failures:
            return False
        if self.hit_rate is not None and result.hit_rate < self.hit_rate:
            return False
        return self.p99_s is None or result.waits.percentile(0.99) <= self.p99_s

    def __str__(self) -> str:
        parts = [f"{100 * self.hit_rate:g} % of requests hit"] if self.hit_rate is not None else []
        parts += [f"99 % begin within {1000 * self.p99_s:g} ms"] if self.p99_s is not None else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Trial:
    """One pool that was tried."""

    shape: Shape
    result: Result
    met: bool

    def to_dict(self) -> dict[str, Any]:
        return {"replicas": self.shape.replicas, "slots": self.shape.slots, "met": self.met, **self.result.to_dict()}


@dataclass(frozen=True, slots=True)
class Sizing:
    """The trials in the order they were made, and the smallest pool that met the target (None: none did)."""

    trials: list[Trial]
    chosen: Trial | None


def smallest_pool(
    shape: Shape,
    target: Target,
    curve: MissRatioCurve,
    run: Callable[[Shape], Result],
    *,
    at_once: float,
    vary: Dimension = "replicas",
    told: Callable[[Trial], None] = lambda trial: None,
) -> Sizing:
    """Search the fewest replicas (or slots of each) with which ``run`` meets ``target``; ``told`` hears each trial.

    ``at_once`` is how many requests are worked on at a time if none waits. The search starts where the curve says that
    the hit rate is reached, goes up or down in growing steps, then halves. It takes for granted that a larger pool
    does no worse, which chance can break by a replica or so.
    """
    trials: dict[int, Trial] = {}

    def met(size: int) -> bool:
        if size not in trials:
            tried = replace(shape, replicas=size) if vary == "replicas" else replace(shape, slots=size)
            result = run(tried)
            trials[size] = Trial(tried, result, target.met(result))
            told(trials[size])
        return trials[size].met

    most = _most(shape, curve, at_once, vary)
    found = _search(_start(shape, target, curve, vary, most), most, met)
    return Sizing(list(trials.values()), trials[found] if found is not None else None)


def at_once(trace: Iterable[Arrival], shape: Shape) -> float:
    """Return how many requests of ``trace`` are worked on at a time if none waits (Little's law)."""
    first, last, count = 0.0, 0.0, 0
    for last, _ in trace:
        first = last if not count else first
        count += 1
    return count / (last - first) * shape.work_s.mean if last > first else 1.0


def _start(shape: Shape, target: Target, curve: MissRatioCurve, vary: Dimension, most: int) -> int:
    slots = curve.slots_for(target.hit_rate) if target.hit_rate is not None else None
    if slots is None:
        return 1
    other = shape.slots if vary == "replicas" else shape.replicas
    return min(most, max(1, ceil(slots / other))) if other > 0 else 1


def _most(shape: Shape, curve: MissRatioCurve, at_once: float, vary: Dimension) -> int:
    """Return the size that is tried last: what is larger brings nothing."""
    if vary == "slots":
        return max(1, curve.models)
    for_models = curve.models / shape.slots if shape.slots > 0 else 1.0
    return BEYOND * ceil(max(for_models, at_once / shape.places, 1.0))


def _search(start: int, most: int, met: Callable[[int], bool]) -> int | None:
    """Return the least size from 1 to ``most`` that is ``met``, near ``start`` first; None if none is."""
    step = 1
    if met(start):
        good, bad = start, 0
        while good > 1 and step:
            lower = max(1, good - step)
            if not met(lower):
                bad = lower
                break
            good, step = lower, 2 * step
    else:
        bad, good = start, min(most, start + step)
        while not met(good):
            if good >= most:
                return None
            bad, step = good, 2 * step
            good = min(most, good + step)
    while good - bad > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if met(middle) else (good, middle)
    return good
