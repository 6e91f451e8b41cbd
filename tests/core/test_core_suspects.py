"""Replicas that do not answer: nothing new goes there, nothing is lost, and their first word ends it."""

from __future__ import annotations

import pytest

from runtime.core import events as ev
from runtime.core.events import ModelStatus, Summary
from tests.core.fakes import Router, of


def silence(router: Router, replica: str = "r0") -> list[ev.SchedulerEffect]:
    return router.do(ev.ReplicaSuspected(replica))


def trust(router: Router, replica: str = "r0", held: tuple[str, ...] = ()) -> list[ev.SchedulerEffect]:
    return router.do(ev.ReplicaTrusted(replica, tuple(ModelStatus(model, "resident", 0.1) for model in held)))


def test_a_suspect_gets_no_request_until_it_answers() -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.up("r1", 1, held=("a",))
    silence(router)
    silence(router)
    assert {of(ev.Dispatch, router.arrive("a")[1])[0].replica for _ in range(4)} == {"r1"}
    assert trust(router, held=("a",)) == []
    assert "r0" in {of(ev.Dispatch, router.arrive("a")[1])[0].replica for _ in range(4)}


def test_a_model_that_only_a_suspect_holds_is_wanted_elsewhere() -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.up("r1", 1)
    silence(router)
    assert [want.replica for want in of(ev.Want, router.arrive("a")[1])] == ["r1"]


def test_requests_wait_while_only_suspects_are_left_and_go_at_the_first_word() -> None:
    router = Router(drain_limit_s=5.0)
    router.up("r0", held=("a",))
    silence(router)
    keyed, effects = router.arrive("a")
    unkeyed, more = router.arrive(None)
    assert effects + more + router.pass_time(1000.0) == []
    assert {one.request for one in of(ev.Dispatch, trust(router, held=("a",)))} == {keyed, unkeyed}


def test_requests_that_wait_for_a_suspect_fail_when_it_dies_and_nobody_comes() -> None:
    router = Router(drain_limit_s=5.0)
    router.up("r0")
    silence(router)
    request, _ = router.arrive("a")
    router.do(ev.ReplicaDown("r0"))
    assert [(one.request, one.failure.code) for one in of(ev.Fail, router.pass_time(6.0))] == [(request, "no_replicas")]


def test_what_runs_at_a_suspect_is_left_alone_and_its_place_is_counted() -> None:
    router = Router()
    router.up("r0", held=("a",), places=1)
    running, _ = router.arrive("a")
    silence(router)
    waiting, _ = router.arrive("a")
    assert trust(router, held=("a",)) == []
    assert [one.request for one in of(ev.Dispatch, router.do(ev.RequestFinished(running)))] == [waiting]


def test_a_want_that_had_not_started_at_a_suspect_goes_elsewhere_without_its_answer() -> None:
    router = Router()
    router.up("r0", summary=Summary(free_slots=3))
    router.up("r1", 1, summary=Summary(free_slots=0, evictable=3))
    assert [want.replica for want in of(ev.Want, router.arrive("a")[1])] == ["r0"]
    effects = silence(router)
    assert [(one.replica, one.case) for one in of(ev.Unwant, effects)] == [("r0", 132)]
    assert [one.replica for one in of(ev.Want, effects)] == ["r1"]


def test_a_late_answer_of_a_suspect_is_not_taken_for_one_to_a_newer_want() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    silence(router)
    assert trust(router) == []
    assert [one.replica for one in of(ev.Want, router.do(ev.WantWithdrawn("r0", "a")))] == ["r0"]
    assert [one.request for one in of(ev.Dispatch, router.publish("r0", "a", "resident"))] == [request]


def test_a_load_under_way_at_a_suspect_is_waited_for() -> None:
    router = Router()
    router.up("r0", summary=Summary(free_slots=3))
    router.up("r1", 1, summary=Summary(free_slots=0, evictable=3))
    request, _ = router.arrive("a")
    router.publish("r0", "a", "loading")
    assert silence(router) == []
    assert trust(router) == []
    assert [one.request for one in of(ev.Dispatch, router.publish("r0", "a", "resident"))] == [request]


@pytest.mark.parametrize("caches", [0, 2])
def test_requests_for_a_silent_class_with_several_loaders_wait_and_go_on(caches: int) -> None:
    router = Router()
    router.up("r0", caches=caches)
    silence(router)
    request, effects = router.arrive("a")
    assert of(ev.Dispatch, effects) == []
    assert [one.request for one in of(ev.Dispatch, trust(router))] == [request]


def test_a_suspect_that_drains_stays_out() -> None:
    router = Router(drain_limit_s=5.0)
    router.up("r0", held=("a",))
    silence(router)
    router.do(ev.ReplicaDraining("r0"))
    assert trust(router, held=("a",)) == []
    router.arrive("a")
    assert [one.failure.code for one in of(ev.Fail, router.pass_time(6.0))] == ["no_replicas"]


def test_a_replica_that_owes_a_place_owes_it_after_its_silence_too() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    router.do(ev.RequestRefused(request, "full"))
    silence(router)
    assert trust(router, held=("a",)) == []
    assert [one.request for one in of(ev.Dispatch, router.do(ev.PlaceOffered("r0")))] == [request]


def test_nobody_is_told_that_every_slot_is_taken_while_a_suspect_may_answer() -> None:
    router = Router()
    router.up("r0")
    router.up("r1", 1, held=("x", "y", "z"), summary=Summary(stuck=3))
    silence(router)
    request, effects = router.arrive("a")
    assert of(ev.Fail, effects + router.pass_time(60.0)) == []
    router.summary("r0", stuck=3)
    assert [(one.request, one.failure.code) for one in of(ev.Fail, trust(router))] == [(request, "slots_busy")]


def test_a_replica_that_is_not_known_or_no_suspect_is_none() -> None:
    router = Router()
    assert silence(router, "gone") == trust(router, "gone") == []
    router.up("r0")
    assert trust(router) == []
