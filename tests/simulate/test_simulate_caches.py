"""Belady, pooled LRU, stack distances and the curve, against caches that are spelled out."""

from __future__ import annotations

import itertools
import random

import pytest

from runtime.simulate.arrivals import Arrival
from runtime.simulate.belady import belady, pooled_lru
from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.stack_distance import LEAST, StackDistances
from runtime.simulate.synthetic import Mix, Synthetic
from tests.simulate.fakes import Listed


def fewest_misses(models: str, slots: int) -> int:
    """Return the misses of the best of all orders of eviction, by trying them all."""
    best = {frozenset[str](): 0}
    for model in models:
        after: dict[frozenset[str], int] = {}
        for held, misses in best.items():
            if model in held:
                options = [(held, misses)]
            elif len(held) < slots:
                options = [(held | {model}, misses + 1)]
            else:
                options = [(held - {out} | {model}, misses + 1) for out in held]
            for state, count in options:
                after[state] = min(count, after.get(state, count))
        best = after
    return min(best.values())


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_belady_is_the_best_of_all_orders(slots: int) -> None:
    rng = random.Random(slots)
    for _ in range(30):
        models = "".join(rng.choice("abcdef") for _ in range(14))
        assert belady(Listed(models), slots).misses == fewest_misses(models, slots), models


def test_yardsticks_pass_over_requests_without_a_model() -> None:
    trace = Listed(["a", None, "b", "a", None])
    for measure in (belady, pooled_lru):
        found = measure(trace, 1)
        assert (found.requests, found.misses, found.hit_rate, found.misses_per_100) == (3, 3, 0.0, 100.0)
        assert measure(trace, -1).misses == 2
        assert measure(Listed([]), 4).hit_rate == 1.0
        assert measure(Listed([]), 4).misses_per_100 == 0.0


def test_the_curve_is_what_lru_caches_of_every_size_do() -> None:
    trace = Synthetic(Mix(40, 0.8), count=3000, rate=1.0, seed=5)
    curve = MissRatioCurve.of(trace)
    for slots in range(1, 42):
        assert curve.hit_rate(slots) == pytest.approx(pooled_lru(trace, slots).hit_rate)
    assert curve.hit_rate(0) == 0.0
    assert curve.hit_rate(-1) == curve.best == pytest.approx(1 - 40 / 3000)
    assert (curve.models, curve.requests, curve.rate) == (40, 3000, 1.0)


def test_the_fewest_slots_for_a_hit_rate() -> None:
    trace = Synthetic(Mix(40, 0.8), count=3000, rate=1.0, seed=5)
    curve = MissRatioCurve.of(trace)
    slots = curve.slots_for(0.7)
    assert slots is not None
    assert curve.hit_rate(slots) >= 0.7 > curve.hit_rate(slots - 1)
    assert curve.slots_for(0.9999) is None
    points = curve.points(20)
    assert points[0][0] == 1
    assert points[-1] == (curve.most, curve.best)
    assert points == sorted(points)


def test_a_curve_of_nothing() -> None:
    curve = MissRatioCurve.of(iter([Arrival(0.0, None)]))
    assert (curve.best, curve.hit_rate(5), curve.slots_for(0.5), curve.most) == (0.0, 0.0, None, 1)
    assert curve.points() == [(1, 0.0)]


def test_a_sample_of_the_models_gives_nearly_the_same_curve() -> None:
    trace = Synthetic(Mix(20_000, 0.8), count=60_000, rate=1.0, seed=2)
    exact, sampled = MissRatioCurve.of(trace), MissRatioCurve.of(trace, sampled=4000)
    assert sampled.rate < 0.3
    assert sampled.models == pytest.approx(exact.models, rel=0.05)
    for slots in (100, 1000, 5000, 15_000):
        assert sampled.hit_rate(slots) == pytest.approx(exact.hit_rate(slots), abs=0.03)


def test_the_stack_is_compacted_without_losing_its_order() -> None:
    stack = StackDistances()
    for model in itertools.chain("abc", "abc" * LEAST):
        stack.use(model)
    assert [stack.use(model) for model in "cba"] == [1, 2, 3]
    stack.forget("b")
    stack.forget("never there")
    assert len(stack) == 2
    assert [stack.use(model) for model in "cb"] == [2, 0]
