"""No cold want waits at one replica while another could start it: where wants go, and what makes them move."""

from __future__ import annotations

from runtime.core import events as ev
from tests.core.fakes import Router, of


def full(free_slots: int, wants: int = 0, evictable: int = 0, in_flight: int = 0) -> ev.Summary:
    return ev.Summary(in_flight, free_slots, evictable, 0, 0, wants)


def test_a_free_permit_counts_more_than_free_slots() -> None:
    router = Router()
    router.up("r0", 0, max_concurrent_loads=1, summary=full(3))
    router.up("r1", 1, max_concurrent_loads=1, summary=full(1))
    router.publish("r0", "elsewhere", "loading")
    _, effects = router.arrive("m")
    assert [want.replica for want in of(ev.Want, effects)] == ["r1"]


def test_where_the_load_could_start_counts_more_than_a_free_place() -> None:
    router = Router()
    router.up("r0", 0, summary=full(0))
    router.up("r1", 1, places=1, summary=full(1, in_flight=1))
    _, effects = router.arrive("m")
    assert [want.replica for want in of(ev.Want, effects)] == ["r1"]


def test_a_permit_that_comes_free_pulls_a_want_although_the_summary_stays_as_it_was() -> None:
    router = Router()
    router.up("r0", 0, places=1, max_concurrent_loads=1, summary=full(3))
    router.arrive("a")
    router.publish("r0", "a", "loading")
    router.do(ev.SummaryChanged("r0", full(3, in_flight=1)))
    router.up("r1", 1, summary=full(0))
    _, effects = router.arrive("b")
    assert [want.replica for want in of(ev.Want, effects)] == ["r1"]
    assert of(ev.Unwant, router.do(ev.SummaryChanged("r0", full(3)))) == []
    effects = router.fails("r0", "a")
    assert [(unwant.replica, unwant.model) for unwant in of(ev.Unwant, effects)] == [("r1", "b")]


def test_a_want_behind_another_routers_moves_to_a_replica_that_could_start_it() -> None:
    router = Router(routers=2)
    for index in range(2):
        router.up(f"r{index}", index, max_concurrent_loads=1, summary=full(2))
    _, effects = router.arrive("m")
    [want] = of(ev.Want, effects)
    router.publish(want.replica, "theirs", "loading")
    effects = router.do(ev.SummaryChanged(want.replica, full(1, wants=1)))
    assert [(unwant.replica, unwant.model) for unwant in of(ev.Unwant, effects)] == [(want.replica, "m")]
    effects = router.do(ev.WantWithdrawn(want.replica, "m"))
    assert [again.replica for again in of(ev.Want, effects)] == [{"r0": "r1", "r1": "r0"}[want.replica]]


def test_a_want_stays_where_only_others_without_a_place_could_start_it() -> None:
    router = Router(routers=2)
    for index in range(2):
        router.up(f"r{index}", index, places=1, max_concurrent_loads=1, summary=full(2))
    _, effects = router.arrive("m")
    [want] = of(ev.Want, effects)
    other = {"r0": "r1", "r1": "r0"}[want.replica]
    router.do(ev.SummaryChanged(other, full(2, in_flight=1)))
    router.publish(want.replica, "theirs", "loading")
    assert of(ev.Unwant, router.do(ev.SummaryChanged(want.replica, full(1, wants=1)))) == []


def test_an_idle_model_does_not_have_to_go_where_another_replica_has_a_free_slot() -> None:
    router = Router()
    router.up("r0", 0, slots=1, held=("idle",), summary=full(0, evictable=1))
    _, effects = router.arrive("m")
    assert [want.replica for want in of(ev.Want, effects)] == ["r0"]
    router.do(ev.SummaryChanged("r0", full(0, wants=1, evictable=1)))
    effects = router.up("r1", 1, slots=1, summary=full(1))
    assert [(unwant.replica, unwant.model) for unwant in of(ev.Unwant, effects)] == [("r0", "m")]


def test_a_want_that_had_started_when_it_was_pulled_leaves_its_turn_to_the_next() -> None:
    router = Router()
    router.up("r0", 0, max_concurrent_loads=2, summary=full(2))
    for model in "ab":
        router.arrive(model)
    router.do(ev.SummaryChanged("r0", full(0, wants=2)))
    effects = router.up("r1", 1, slots=1, max_concurrent_loads=1, summary=full(1))
    assert [unwant.model for unwant in of(ev.Unwant, effects)] == ["a"]
    effects = router.publish("r0", "a", "loading")
    assert [(unwant.replica, unwant.model) for unwant in of(ev.Unwant, effects)] == [("r0", "b")]
