"""The checks themselves: each notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.core import events as ev
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.simulate.invariants import (
    InvariantBroken,
    ResidencyWatch,
    SchedulerWatch,
    check_residency,
    check_scheduler,
    check_single_flight,
    leftover,
    residue,
)
from tests.core.fakes import Replica, Router, key


def entry(residency: Residency, model: str) -> object:
    return residency.state.caches[0].entries[model]


SPOIL_RESIDENCY: dict[str, Callable[[Residency], object]] = {
    "leases": lambda r: setattr(entry(r, "a"), "leases", 5),
    "stuck": lambda r: setattr(entry(r, "a"), "stuck", 5),
    "claims": lambda r: entry(r, "b").claims.update({9: 0.0}),  # type: ignore[attr-defined]
    "bytes": lambda r: setattr(r.state.budget, "used", 77),
    "pinned bytes": lambda r: setattr(r.state.budget, "pinned", 77),
    "places": lambda r: setattr(r.state.admission, "in_flight", 9),
    "promises": lambda r: setattr(r.state.admission, "places", 0),
    "the cap": lambda r: setattr(r.state.caches[0], "cap", 1),
    "states": lambda r: r.state.caches[0].count.update(resident=9),
    "idle": lambda r: r.state.caches[0].idle.clear(),
    "a model that is not idle": lambda r: r.state.caches[0].idle.update(a=entry(r, "a")),  # type: ignore[dict-item]
    "blocked": lambda r: setattr(r.state.caches[0], "blocked", 1),
    "coldest": lambda r: setattr(r.state.caches[0], "coldest", entry(r, "a")),
    "waiters": lambda r: r.state.waiters.update({7: key("a")}),
    "a newcomer that does not load": lambda r: r.state.newcomers.started(key("b")),
    "an unstarted want": lambda r: r.state.wants[0].open(key("c")),
}


@pytest.mark.parametrize("what", SPOIL_RESIDENCY)
def test_a_spoilt_replica_is_noticed(what: str) -> None:
    replica = Replica(slots=(4,))
    for model in ("a", "b"):
        replica.load(model, size_bytes=1)
    replica.offer(1, "a")
    check_residency(replica.residency, replica.now)
    SPOIL_RESIDENCY[what](replica.residency)
    with pytest.raises(InvariantBroken):
        check_residency(replica.residency, replica.now)


SPOIL_SCHEDULER: dict[str, Callable[[Scheduler], object]] = {
    "in flight": lambda s: setattr(s.state.pool.by_id["r0"], "in_flight", 3),
    "room": lambda s: setattr(s.state.pool, "room", 0),
    "up": lambda s: setattr(s.state.pool, "up", 0),
    "able": lambda s: setattr(s.state.pool, "able", 0b10),
    "vacant": lambda s: setattr(s.state.pool, "vacant", 0),
    "pressed": lambda s: setattr(s.state.pool.by_id["r0"], "ready_for", -1),
    "the only holder": lambda s: setattr(s.state.models["a"], "sole", None),
    "low": lambda s: setattr(s.state.pool, "low", 0),
    "levels": lambda s: s.state.pool.levels.reverse(),
    "queued": lambda s: setattr(s.state, "queued", 9),
    "a record without reason": lambda s: s.state.model("nobody"),
    "bids": lambda s: setattr(s.state.pool.by_id["r0"], "bids", 9),
    "holders": lambda s: setattr(s.state.models["a"], "holders", 0),
    "unknown holders": lambda s: setattr(s.state.models["a"], "holders", 0b11),
    "awaited where it is not": lambda s: setattr(s.state.models["b"], "noted", 0b1),
    "awaited or not": lambda s: setattr(s.state.models["a"], "noted", 0b1),
    "awaited twice": lambda s: s.state.pool.by_id["r0"].awaited.update(
        {s.state.models["b"]: None, s.state.models["a"]: None}
    ),
}


@pytest.mark.parametrize("what", SPOIL_SCHEDULER)
def test_a_spoilt_router_is_noticed(what: str) -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.arrive("a")
    router.arrive("b")
    check_scheduler(router.scheduler)
    SPOIL_SCHEDULER[what](router.scheduler)
    with pytest.raises(InvariantBroken):
        check_scheduler(router.scheduler)


def test_a_queue_that_no_place_would_look_for_is_noticed() -> None:
    router = Router()
    router.up("r0", held=("a",), places=1)
    for _ in range(2):
        router.arrive("a")
    router.scheduler.state.models["a"].noted = 0
    with pytest.raises(InvariantBroken, match="awaited"):
        check_scheduler(router.scheduler)


@pytest.mark.parametrize(
    "effect",
    [
        ev.Load(key("a")),
        ev.Unload(key("nowhere")),
        ev.Unload(key("a")),
        ev.Give(1, key("a")),
    ],
)
def test_an_effect_that_may_not_be_is_noticed(effect: ev.ResidencyEffect) -> None:
    replica = Replica()
    replica.load("a")
    replica.offer(1, "a")
    with pytest.raises(InvariantBroken):
        replica.watch.step(ev.Woken(), [effect], replica.now)


def test_a_request_that_is_not_answered_is_noticed() -> None:
    residency = Residency(ev.ReplicaLimits())
    with pytest.raises(InvariantBroken):
        ResidencyWatch(residency).step(ev.Offered(0, 1, None), [], 0.0)


@pytest.mark.parametrize(
    "effect", [ev.Dispatch(1, "r0", "a"), ev.Fail(2, ev.Failure("x", "")), ev.Dispatch(2, "r0", "a")]
)
def test_a_second_answer_to_a_request_is_noticed(effect: ev.SchedulerEffect) -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.arrive("a")
    with pytest.raises(InvariantBroken):
        router.watch.step(ev.Woken(), [effect], router.now)


def test_a_second_retry_is_noticed() -> None:
    watch = SchedulerWatch(Scheduler("d", ev.SchedulerLimits()))
    watch.scheduler.handle(ev.RequestArrived(1, "a"), 0.0)
    dispatch = ev.Dispatch(1, "r0", "a")
    watch.step(ev.RequestArrived(1, "a"), [], 0.0)
    for _ in range(2):
        watch.see(dispatch)
        watch.step(ev.ReplicaDown("r0"), [], 0.0)
    with pytest.raises(InvariantBroken):
        watch.see(dispatch)


def test_a_model_loading_twice_is_noticed() -> None:
    replicas = [Replica(), Replica()]
    for replica in replicas:
        replica.want("a")
    with pytest.raises(InvariantBroken):
        check_single_flight(replica.residency for replica in replicas)


def test_what_is_left_over_is_named() -> None:
    replica = Replica(slots=(1,))
    replica.load("a")
    replica.offer(1, "a")
    replica.ask("b")
    assert residue(replica.residency) == ["running: 1", "young leases: 1", "waiters: 1", "wants: 1", "in flight: 1"]
    router = Router()
    router.up("r0")
    router.arrive("a")
    assert leftover(router.scheduler) == ["requests: 1", "queued: 1", "demands: 1", "unheld: 1"]
    assert router.watch.open == [1]
