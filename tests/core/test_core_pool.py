"""The bitsets of a router and the order of its replicas."""

from __future__ import annotations

from runtime.core.buckets import Buckets
from runtime.core.ring import POINTS_PER_INDEX, Ring, point_of, weigh


def test_buckets_find_the_highest_and_the_lowest_that_hold_any() -> None:
    buckets = Buckets()
    for bit, bucket in ((1, 3), (2, 3), (4, 9)):
        buckets.move(bit, 0, bucket)
    assert buckets.best(0b111, highest=True) == 4
    assert buckets.best(0b111, highest=False) == 3
    assert buckets.best(0b1000, highest=True) == 0
    assert buckets.lowest(0b100) == 9
    assert buckets.lowest(0b1000) == 0
    buckets.leave(4, 9)
    assert buckets.best(0b111, highest=True) == 3


def test_the_ring_moves_only_what_a_replica_that_goes_had() -> None:
    ring = Ring()
    for index in range(10):
        ring.add(index)
    ring.add(3)
    names = [f"model-{number}" for number in range(2000)]
    before = {name: next(ring.walk(point_of(name))) for name in names}
    shares = [list(before.values()).count(index) for index in range(10)]
    assert min(shares) > 60
    ring.remove(3)
    assert {name: next(ring.walk(point_of(name))) for name in names} == before
    ring.remove(3)
    after = {name: next(ring.walk(point_of(name))) for name in names}
    assert all(after[name] == home for name, home in before.items() if home != 3)
    assert len(list(ring.walk(0))) == 9 * POINTS_PER_INDEX


def test_weights_spread_models_evenly() -> None:
    homes = [max(range(4), key=lambda index: weigh(point_of(f"m{number}"), index)) for number in range(1000)]
    assert min(homes.count(index) for index in range(4)) > 180
