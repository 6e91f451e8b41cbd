"""Rolling from the actual replicas to the desired ones, step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.rollout import Drain, Instance, InstanceState, Slot, Start, Step, covered, plan, settled


def slots(revision: str, count: int, deployment: str = "m") -> list[Slot]:
    return [Slot(deployment, index, revision) for index in range(count)]


def one(id: str, index: int, revision: str, state: InstanceState = "ready", deployment: str = "m") -> Instance:
    return Instance(id, deployment, index, revision, state)


def test_an_empty_pool_starts_everything_at_once() -> None:
    assert plan(slots("v1", 3), [], 1) == [Start(slot) for slot in slots("v1", 3)]


def test_nothing_is_to_do_when_all_is_as_desired() -> None:
    actual = [one("a", 0, "v1"), one("b", 1, "v1", "starting")]
    assert plan(slots("v1", 2), actual, 1) == []
    assert not settled(slots("v1", 2), actual)
    assert settled(slots("v1", 1), [one("a", 0, "v1")])


def test_what_is_desired_is_covered_whatever_else_there_is() -> None:
    other = one("x", 0, "v1", deployment="x")
    assert covered(slots("v1", 1), [one("a", 0, "v1"), other])
    assert not covered(slots("v1", 2), [one("a", 0, "v1"), one("b", 1, "v1", "starting"), other])


def test_what_nobody_desires_drains_at_once() -> None:
    extra, other, going = one("b", 1, "v1"), one("c", 0, "v1", deployment="x"), one("d", 2, "v1", "draining")
    assert plan(slots("v1", 1), [one("a", 0, "v1"), extra, other, going], 1) == [Drain(extra), Drain(other)]


def test_a_successor_starts_beside_its_predecessor_one_at_a_time() -> None:
    old = [one("a", 0, "v1"), one("b", 1, "v1")]
    assert plan(slots("v2", 2), old, 1) == [Start(Slot("m", 0, "v2"))]
    starting = one("c", 0, "v2", "starting")
    assert plan(slots("v2", 2), [*old, starting], 1) == []
    assert plan(slots("v2", 2), [*old, starting], 2) == [Start(Slot("m", 1, "v2"))]


def test_a_predecessor_goes_only_when_its_successor_is_ready() -> None:
    old = [one("a", 0, "v1"), one("b", 1, "v1")]
    assert plan(slots("v2", 2), [*old, one("c", 0, "v2")], 1) == [Drain(old[0])]


def test_without_surge_the_predecessor_drains_first_and_one_at_a_time() -> None:
    old = [one("a", 0, "v1"), one("b", 1, "v1")]
    assert plan(slots("v2", 2), old, 0) == [Drain(old[0])]
    gone = [one("a", 0, "v1", "draining"), old[1]]
    assert plan(slots("v2", 2), gone, 0) == []
    assert plan(slots("v2", 2), [old[1]], 0) == [Start(Slot("m", 0, "v2"))]
    assert plan(slots("v2", 2), [one("c", 0, "v2", "starting"), old[1]], 0) == []


def test_an_outdated_replica_that_serves_nobody_goes_at_once() -> None:
    crashing = one("a", 0, "v1", "starting")
    assert plan(slots("v2", 1), [crashing], 1) == [Drain(crashing), Start(Slot("m", 0, "v2"))]
    failed = one("a", 0, "v1", "failed")
    assert plan(slots("v2", 1), [failed], 0) == [Drain(failed), Start(Slot("m", 0, "v2"))]


def test_a_duplicate_drains_and_the_ready_one_stays() -> None:
    ready, twin = one("a", 0, "v1"), one("b", 0, "v1", "starting")
    assert plan(slots("v1", 1), [twin, ready], 1) == [Drain(twin)]


def test_a_failed_successor_stops_the_rollout_and_the_old_generation_serves() -> None:
    actual = [one("a", 0, "v1"), one("b", 1, "v1"), one("c", 0, "v2", "failed")]
    assert plan(slots("v2", 2), actual, 1) == []
    assert plan(slots("v2", 1), [one("c", 0, "v2", "failed")], 1) == []


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2), st.randoms(use_true_random=False))
def test_every_rollout_ends_with_the_desired_and_never_loses_a_slot(
    new: int, old: int, surge: int, rng: object
) -> None:
    desired = slots("v2", new)
    actual = [one(f"old{index}", index, "v1") for index in range(old)]
    born = 0
    for _ in range(200):
        if settled(desired, actual):
            break
        for step in plan(desired, actual, surge):
            born += 1
            actual = _take(step, actual, f"new{born}")
        doubled = [slot for slot in desired if sum(i.index == slot.index for i in actual) > 1]
        assert len(doubled) <= max(surge, 0)
        served = sum(any(i.index == index and i.state == "ready" for i in actual) for index in range(min(new, old)))
        assert served >= min(new, old) - (1 if surge == 0 else 0)
        moving = [i for i in actual if i.state in ("starting", "draining")]
        if moving:
            actual = _move(actual, rng.choice(moving))  # type: ignore[attr-defined]
    assert settled(desired, actual)


def _take(step: Step, actual: list[Instance], id: str) -> list[Instance]:
    if isinstance(step, Start):
        return [*actual, Instance(id, step.slot.deployment, step.slot.index, step.slot.revision, "starting")]
    return [_with(i, "draining") if i == step.instance else i for i in actual]


def _move(actual: list[Instance], moved: Instance) -> list[Instance]:
    if moved.state == "draining":
        return [i for i in actual if i != moved]
    return [_with(i, "ready") if i == moved else i for i in actual]


def _with(i: Instance, state: InstanceState) -> Instance:
    return Instance(i.id, i.deployment, i.index, i.revision, state)


@pytest.mark.parametrize("surge", [0, 1])
def test_two_deployments_roll_side_by_side(surge: int) -> None:
    old = [one("a", 0, "v1"), one("b", 0, "v1", deployment="x")]
    steps = plan([Slot("m", 0, "v2"), Slot("x", 0, "v2")], old, surge)
    assert len(steps) == 2
