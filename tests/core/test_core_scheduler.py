"""One router, rule by rule."""

from __future__ import annotations

import pytest

from runtime.core import events as ev
from runtime.core.events import Failure, ModelStatus, SchedulerLimits, Summary
from tests.core.fakes import BROKEN, Router, of


def test_a_resident_model_with_a_free_place_is_dispatched_at_once() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, effects = router.arrive("a")
    assert effects == [ev.Dispatch(request, "r0", "a", 0.0, 101)]
    assert router.do(ev.RequestFinished(request)) == []
    assert router.do(ev.RequestFinished(request)) == []


def test_requests_go_to_the_first_holder_below_half_load_then_to_the_least_loaded() -> None:
    router = Router()
    for index in range(3):
        router.up(f"r{index}", index, held=("a",), places=4)
    chosen = [of(ev.Dispatch, router.arrive("a")[1])[0].replica for _ in range(6)]
    assert [chosen.count(replica) for replica in dict.fromkeys(chosen)] == [2, 2, 2]
    assert chosen == sorted(chosen, key=chosen.index)
    assert of(ev.Dispatch, router.arrive("a")[1])[0].case == 102


def test_a_request_without_a_model_goes_to_the_least_loaded_replica_or_waits() -> None:
    router = Router()
    router.up("r0", places=1)
    router.up("r1", 1, places=1)
    first = of(ev.Dispatch, router.arrive(None)[1] + router.arrive(None)[1])
    assert {dispatch.replica for dispatch in first} == {"r0", "r1"}
    waiting, effects = router.arrive(None)
    assert effects == []
    served = of(ev.Dispatch, router.do(ev.RequestFinished(first[0].request)))
    assert [(one.request, one.replica, one.case) for one in served] == [(waiting, first[0].replica, 108)]


def test_the_oldest_of_two_queues_is_served_first() -> None:
    router = Router()
    router.up("r0", held=("a", "b"), places=1)
    running = router.arrive("a")[0]
    unkeyed = router.arrive(None)[0]
    keyed = router.arrive("b")[0]
    last = router.arrive(None)[0]
    order = []
    for _ in range(3):
        running = of(ev.Dispatch, router.do(ev.RequestFinished(running)))[0].request
        order.append(running)
    assert order == [unkeyed, keyed, last]


def test_a_cold_model_is_wanted_once_and_its_requests_follow_it() -> None:
    router = Router()
    router.up("r0")
    first, effects = router.arrive("a")
    assert [(want.replica, want.kind) for want in of(ev.Want, effects)] == [("r0", "cold")]
    second, effects = router.arrive("a")
    assert effects == []
    router.publish("r0", "a", "loading")
    effects = router.publish("r0", "a", "resident")
    assert [dispatch.request for dispatch in of(ev.Dispatch, effects)] == [first, second]
    assert isinstance(effects[-1], ev.Release)


def test_a_claim_is_released_after_the_last_waiting_request_was_sent() -> None:
    router = Router()
    router.up("r0", places=1)
    first, _ = router.arrive("a")
    router.arrive("a")
    assert of(ev.Release, router.publish("r0", "a", "resident")) == []
    assert of(ev.Release, router.do(ev.RequestFinished(first)))


def test_a_want_goes_where_a_slot_is_free_then_where_the_coldest_model_is() -> None:
    router = Router()
    router.up("r0", summary=Summary(free_slots=0, evictable=3, coldness=3))
    router.up("r1", 1, summary=Summary(free_slots=0, evictable=3, coldness=9))
    assert of(ev.Want, router.arrive("a")[1])[0].replica == "r1"
    router.summary("r0", free_slots=1)
    assert of(ev.Want, router.arrive("b")[1])[0].replica == "r0"


def test_two_routers_that_heard_the_same_choose_the_same_home() -> None:
    routers = [Router(routers=2, router=f"router-{number}") for number in range(2)]
    for number, router in enumerate(routers):
        order = range(20) if number else reversed(range(20))
        for index in order:
            router.up(f"r{index}", index, summary=Summary(free_slots=index % 3, coldness=index % 5))
    for number in range(50):
        homes = {of(ev.Want, router.arrive(f"m{number}")[1])[0].replica for router in routers}
        assert len(homes) == 1


def test_a_model_that_another_router_has_loading_is_joined() -> None:
    router = Router(routers=2)
    router.up("r0")
    router.up("r1", 1)
    router.publish("r1", "a", "loading")
    assert [(want.replica, want.case) for want in of(ev.Want, router.arrive("a")[1])] == [("r1", 125)]


def test_a_want_is_taken_back_when_its_last_waiter_leaves() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    effects = router.do(ev.RequestCancelled(request))
    assert [unwant.case for unwant in of(ev.Unwant, effects)] == [123]
    router.do(ev.RequestCancelled(request))
    router.do(ev.WantWithdrawn("r0", "a"))
    assert router.scheduler.models() == []


def test_a_request_that_comes_while_a_want_is_being_taken_back_is_wanted_again() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    router.do(ev.RequestCancelled(request))
    assert router.arrive("a")[1] == []
    assert of(ev.Want, router.do(ev.WantWithdrawn("r0", "a")))


def test_a_want_taken_back_too_late_is_joined_again() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    router.do(ev.RequestCancelled(request))
    router.arrive("a")
    assert [want.case for want in of(ev.Want, router.publish("r0", "a", "loading"))] == [125]


def test_a_load_under_way_that_nobody_waits_for_any_more_is_let_go() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    router.publish("r0", "a", "loading")
    assert of(ev.Unwant, router.do(ev.RequestCancelled(request)))
    assert of(ev.Release, router.publish("r0", "a", "resident")) == []


def test_an_unstarted_want_moves_to_a_replica_that_can_start_it() -> None:
    router = Router()
    router.up("r0", slots=1, summary=Summary(free_slots=0))
    router.arrive("a")
    router.summary("r0", wants=1)
    router.up("r1", 1, slots=1, summary=Summary(free_slots=0))
    assert [unwant.case for unwant in of(ev.Unwant, router.summary("r1", free_slots=1))] == [122]
    assert [want.replica for want in of(ev.Want, router.do(ev.WantWithdrawn("r0", "a")))] == ["r1"]


def test_a_want_moves_to_a_replica_that_loads_another_and_has_a_slot_to_spare() -> None:
    """What is loading there holds its slot already; it does not stand for one more."""
    router = Router()
    router.up("r0", slots=2, summary=Summary(free_slots=2))
    router.arrive("a")
    router.publish("r0", "a", "loading")
    router.summary("r0", free_slots=0)
    router.up("r1", 1, slots=1, summary=Summary(free_slots=1))
    assert [want.replica for want in of(ev.Want, router.arrive("b")[1])] == ["r1"]
    router.summary("r1", free_slots=0, wants=1)
    moved = of(ev.Unwant, router.summary("r0", evictable=1))
    assert [(unwant.replica, unwant.model, unwant.case) for unwant in moved] == [("r1", "b", 122)]


def test_a_want_that_waits_long_looks_for_a_better_replica() -> None:
    router = Router()
    router.up("r0", slots=1, summary=Summary(free_slots=0, wants=0))
    router.arrive("a")
    router.summary("r0", stuck=1, wants=1)
    assert of(ev.Fail, router.log)[0].failure.code == "slots_busy"
    router.do(ev.WantWithdrawn("r0", "a"))
    router.summary("r0", wants=1)
    router.arrive("b")
    router.up("r1", 1, slots=1, summary=Summary(wants=0))
    router.summary("r0", wants=8)
    assert [unwant.case for unwant in of(ev.Unwant, router.pass_time(5.0))] == [127]


def test_a_want_at_a_replica_whose_slots_are_all_held_moves_after_a_while() -> None:
    router = Router()
    router.up("r0", slots=1, summary=Summary(free_slots=0))
    router.arrive("a")
    router.up("r1", 1, slots=1, summary=Summary(free_slots=0))
    router.summary("r0", stuck=1)
    assert [unwant.replica for unwant in of(ev.Unwant, router.pass_time(5.0))] == ["r0"]


def test_a_want_that_has_nowhere_better_to_go_stays() -> None:
    router = Router()
    router.up("r0", slots=1, summary=Summary(free_slots=0))
    router.arrive("a")
    assert router.pass_time(300.0) == []


def test_a_hot_model_gets_one_copy_at_a_time_where_there_is_room() -> None:
    router = Router()
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, held=("hot2", "other"), places=1, slots=2)
    for _ in range(5):
        router.arrive("hot")
    router.pass_time(0.5)
    wants = of(ev.Want, router.log)
    assert [(want.kind, want.replica) for want in wants] == [("copy", "r1")]
    assert wants[0].spare is None
    router.publish("r1", "hot", "loading")
    assert of(ev.Want, router.pass_time(5.0)) == []
    assert of(ev.Dispatch, router.publish("r1", "hot", "resident"))


def hot_with_a_copy_wanted() -> Router:
    """Return a router that wants one copy of a hot model at r1, while r2 has room too."""
    router = Router(routers=2)
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, slots=2)
    router.up("r2", 2, held=("other",), slots=2)
    for _ in range(5):
        router.arrive("hot")
    assert [(want.kind, want.replica) for want in of(ev.Want, router.pass_time(0.5))] == [("copy", "r1")]
    return router


def test_a_copy_that_another_router_has_begun_elsewhere_is_not_wanted_twice() -> None:
    router = hot_with_a_copy_wanted()
    effects = router.publish("r2", "hot", "loading")
    assert [(unwant.replica, unwant.case) for unwant in of(ev.Unwant, effects)] == [("r1", 124)]
    assert of(ev.Want, router.do(ev.WantWithdrawn("r1", "hot"))) == []
    assert of(ev.Dispatch, router.publish("r2", "hot", "resident"))


def test_a_copy_that_is_loading_stays_wanted_although_another_router_has_begun_one() -> None:
    router = hot_with_a_copy_wanted()
    router.publish("r1", "hot", "loading")
    assert of(ev.Unwant, router.publish("r2", "hot", "loading")) == []
    assert of(ev.Dispatch, router.publish("r1", "hot", "resident"))


def test_a_copy_may_take_the_slot_of_a_model_that_has_another() -> None:
    router = Router()
    router.up("r0", held=("hot", "twin"), places=1, slots=2)
    router.up("r1", 1, held=("twin",), places=1, slots=1)
    for _ in range(3):
        router.arrive("hot")
    assert [want.spare for want in of(ev.Want, router.pass_time(0.5))] == ["twin"]


def test_no_copy_is_wanted_where_nothing_can_go_and_it_is_tried_again() -> None:
    router = Router()
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, slots=1, summary=Summary())
    for _ in range(3):
        router.arrive("hot")
    assert router.pass_time(2.0) == []
    router.summary("r1", free_slots=1)
    assert [want.kind for want in of(ev.Want, router.pass_time(1.0))] == ["copy"]


def test_a_short_queue_is_waited_out() -> None:
    router = Router()
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, slots=1)
    request, _ = router.arrive("hot")
    router.arrive("hot")
    assert of(ev.Want, router.log) == []
    router.do(ev.RequestFinished(request), after=0.05)
    assert of(ev.Want, router.pass_time(5.0)) == []


def test_a_queue_that_departs_quickly_needs_no_copy_until_it_has_stood_for_a_load_time() -> None:
    router = Router()
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, slots=1)
    router.publish("r0", "hot", "resident", load_s=3.0)
    running = router.arrive("hot")[0]
    router.arrive("hot")
    for _ in range(25):
        router.arrive("hot")
        running = of(ev.Dispatch, router.do(ev.RequestFinished(running), after=0.1))[0].request
    assert of(ev.Want, router.log) == []
    assert of(ev.Want, router.pass_time(1.0))


def test_a_copy_want_becomes_the_cold_one_when_the_last_holder_goes() -> None:
    router = Router()
    router.up("r0", held=("hot",), places=1, slots=1)
    router.up("r1", 1, slots=1)
    for _ in range(3):
        router.arrive("hot")
    router.pass_time(0.5)
    wants = of(ev.Want, router.publish("r0", "hot", "draining"))
    assert [(want.replica, want.kind, want.case) for want in wants] == [("r1", "cold", 125)]


def test_a_refused_request_goes_back_to_the_place_of_its_arrival() -> None:
    router = Router()
    router.up("r0", held=("a",), places=3)
    early = [router.arrive("a")[0] for _ in range(3)]
    late = router.arrive("a")[0]
    router.publish("r0", "a", "draining")
    for request in (early[1], early[2], early[0]):
        router.do(ev.RequestRefused(request, "absent"))
    router.publish("r0", "a", "resident")
    dispatched = [one.request for one in of(ev.Dispatch, router.log)]
    assert dispatched[-3:] == early
    assert late not in dispatched


def test_a_replica_that_was_full_is_left_alone_until_it_offers_a_place() -> None:
    router = Router(routers=2)
    router.up("r0", held=("a",), places=5)
    request, _ = router.arrive("a")
    assert router.do(ev.RequestRefused(request, "full")) == []
    assert router.arrive("a")[1] == []
    offered = of(ev.Dispatch, router.do(ev.PlaceOffered("r0")))
    assert [one.request for one in offered] == [request, request + 1]
    router.do(ev.RequestRefused(request, "full"))
    router.do(ev.RequestCancelled(request))
    assert of(ev.PassPlace, router.do(ev.PlaceOffered("r0")))


def test_a_request_refused_by_one_holder_goes_to_another() -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.up("r1", 1, held=("a",))
    request, effects = router.arrive("a")
    first = of(ev.Dispatch, effects)[0].replica
    again = of(ev.Dispatch, router.do(ev.RequestRefused(request, "full")))[0].replica
    assert {first, again} == {"r0", "r1"}
    unkeyed, effects = router.arrive(None)
    where = of(ev.Dispatch, effects)[0].replica
    assert where == again
    assert router.do(ev.RequestRefused(unkeyed, "full")) == []


def test_a_request_whose_client_left_is_not_sent_again() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    router.do(ev.RequestCancelled(request))
    assert router.do(ev.RequestRefused(request, "full")) == []
    assert router.do(ev.RequestRefused(request, "full")) == []
    router.do(ev.RequestBegan(request))


def test_a_failed_load_answers_all_who_wait_and_is_remembered() -> None:
    router = Router()
    router.up("r0")
    requests = [router.arrive("a")[0] for _ in range(2)]
    fails = of(ev.Fail, router.fails("r0", "a"))
    assert [fail.request for fail in fails] == requests
    _, effects = router.arrive("a")
    assert [(fail.case, fail.failure.retry_after_s) for fail in of(ev.Fail, effects)] == [(142, 1.0)]
    router.pass_time(1.5)
    assert of(ev.Want, router.arrive("a")[1])


def test_a_failure_elsewhere_does_not_touch_a_model_that_is_held() -> None:
    router = Router()
    router.up("r0", held=("a",), places=1)
    router.up("r1", 1)
    router.arrive("a")
    router.arrive("a")
    assert of(ev.Fail, router.fails("r1", "a")) == []
    assert router.scheduler.queued == 1


def test_a_model_is_tried_elsewhere_after_it_failed_somewhere() -> None:
    router = Router()
    router.up("r0")
    router.up("r1", 1)
    _, effects = router.arrive("a")
    first = of(ev.Want, effects)[0].replica
    router.fails(first, "a")
    router.pass_time(2.0)
    assert of(ev.Want, router.arrive("a")[1])[0].replica != first


def test_a_replica_without_a_slot_for_it_is_not_the_end_of_a_request() -> None:
    router = Router()
    router.up("r0")
    router.arrive("a")
    effects = router.fails("r0", "a", Failure("slots_busy", "pinned"))
    assert of(ev.Fail, effects) == []
    assert of(ev.Want, effects)


def test_an_unload_by_an_operator_is_answered_and_not_remembered() -> None:
    router = Router()
    router.up("r0")
    router.arrive("a")
    assert of(ev.Fail, router.fails("r0", "a", Failure("model_unloaded", "by hand")))
    assert of(ev.Want, router.arrive("a")[1])


def test_user_code_that_handles_failures_gets_its_requests_at_the_replica_that_failed() -> None:
    router = Router(dispatch_failed=True)
    router.up("r0", places=1)
    router.up("r1", 1, places=1)
    request, effects = router.arrive("a")
    home = of(ev.Want, effects)[0].replica
    assert [one.replica for one in of(ev.Dispatch, router.fails(home, "a"))] == [home]
    second, effects = router.arrive("a")
    assert effects == []
    assert of(ev.Dispatch, router.do(ev.RequestFinished(request)))[0].request == second
    effects = router.do(ev.RequestRefused(second, "absent"))
    assert len(of(ev.Want, effects)) == 1
    other = of(ev.Want, effects)[0].replica
    router.publish(other, "a", "loading")
    router.publish(other, "a", "resident")
    assert list(router.scheduler.state.failing) == []


def test_a_model_that_loads_after_all_is_no_longer_sent_to_where_it_failed() -> None:
    router = Router(dispatch_failed=True)
    router.up("r0")
    router.up("r1", 1)
    router.arrive("a")
    router.fails("r0", "a")
    router.fails("r1", "a")
    router.publish("r1", "a", "resident")
    (model,) = router.scheduler.models()
    assert model.holders == router.scheduler.state.pool.by_id["r1"].bit


def test_models_sent_to_where_they_failed_are_a_bounded_number() -> None:
    router = Router(dispatch_failed=True)
    router.up("r0", places=5000)
    for number in range(1030):
        router.scheduler.handle(ev.ModelChanged("r0", ModelStatus(f"m{number}", "failed", failure=BROKEN)), router.now)
    assert len(router.scheduler.state.failing) == 1024
    assert len(router.scheduler.models()) == 1024


def test_a_refusal_with_a_failure_is_the_answer() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    assert of(ev.Fail, router.do(ev.RequestRefused(request, "failed", BROKEN)))[0].case == 148


@pytest.mark.parametrize(
    ("began", "replayable", "safe"), [(False, True, True), (True, True, False), (False, False, False)]
)
def test_a_replicas_death_retries_what_surely_had_not_begun(began: bool, replayable: bool, safe: bool) -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a", replayable=replayable)
    if began:
        router.do(ev.RequestBegan(request))
    router.up("r1", 1, held=("a",))
    effects = router.do(ev.ReplicaDown("r0"))
    assert bool(of(ev.Dispatch, effects)) == safe
    assert [fail.failure.code for fail in of(ev.Fail, effects)] == ([] if safe else ["replica_died"])


def test_a_second_death_is_the_end_and_a_client_that_left_is_not_missed() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    gone, _ = router.arrive("a")
    router.do(ev.RequestCancelled(gone))
    router.do(ev.ReplicaDown("r0"))
    router.do(ev.ReplicaDown("r0"))
    router.up("r1", held=("a",))
    assert [fail.request for fail in of(ev.Fail, router.do(ev.ReplicaDown("r1")))] == [request]


def test_a_replica_that_connects_again_under_its_id_was_down_in_between() -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.arrive("a")
    assert of(ev.Dispatch, router.up("r0", held=("a",)))


def test_a_model_loading_at_two_deaths_fails_fast_with_growing_delay() -> None:
    router = Router()
    delays = []
    for number in range(4):
        replica = f"r{number}"
        router.up(replica)
        router.arrive("poison")
        router.publish(replica, "poison", "fetching")
        router.publish(replica, "poison", "loading")
        fails = of(ev.Fail, router.do(ev.ReplicaDown(replica)))
        delays += [fail.failure.retry_after_s for fail in fails[:1]]
        router.pass_time(45.0)
    assert delays[:2] == [5.0, 10.0]


def test_strikes_are_a_bounded_table() -> None:
    router = Router()
    router.up("r0")
    for number in range(1030):
        router.scheduler.handle(ev.ModelChanged("r0", ModelStatus(f"m{number}", "loading")), router.now)
    router.do(ev.ReplicaDown("r0"))
    assert len(router.scheduler.state.strikes) == 1024
    assert router.scheduler.models() == []


def test_a_death_while_fetching_is_no_strike() -> None:
    router = Router()
    router.up("r0")
    router.arrive("a")
    router.publish("r0", "a", "fetching")
    router.do(ev.ReplicaDown("r0"))
    assert len(router.scheduler.state.strikes) == 0
    assert of(ev.Want, router.up("r1"))


def test_requests_wait_while_no_replica_is_up_but_not_for_ever() -> None:
    router = Router(drain_limit_s=30.0)
    keyed, _ = router.arrive("a")
    router.arrive(None)
    router.pass_time(10.0)
    assert {effect.request for effect in of(ev.Dispatch, router.up("r0", held=("a",)))} == {1, 2}
    assert keyed == 1
    router.do(ev.ReplicaDown("r0"))
    router.arrive("a")
    router.arrive(None)
    codes = [fail.failure.code for fail in of(ev.Fail, router.pass_time(31.0))]
    assert codes == ["no_replicas"] * len(codes)
    assert router.scheduler.queued == 0
    router.arrive("a")
    request, _ = router.arrive("b")
    router.do(ev.RequestCancelled(request))
    assert router.scheduler.deadline() is not None


def test_a_draining_replica_gets_nothing_new_and_gives_its_wants_back() -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    router.arrive("b")
    router.up("r1", 1)
    effects = router.do(ev.ReplicaDraining("r0"))
    assert [unwant.case for unwant in of(ev.Unwant, effects)] == [126]
    assert of(ev.Want, router.do(ev.WantWithdrawn("r0", "b")))[0].replica == "r1"
    assert of(ev.Want, router.arrive("a")[1])[0].replica == "r1"
    assert of(ev.Dispatch, router.publish("r0", "b", "resident")) == []
    router.do(ev.RequestFinished(request))
    router.do(ev.ReplicaDraining("r0"))


@pytest.mark.parametrize("word", ["withdrawn", "refused"])
def test_a_replica_that_says_it_is_stopping_is_draining(word: str) -> None:
    router = Router()
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    router.arrive("b")
    if word == "withdrawn":
        router.do(ev.WantWithdrawn("r0", "b"))
    else:
        router.do(ev.RequestRefused(request, "draining"))
    assert router.scheduler.state.pool.up == 0


def test_bounds_answer_with_a_measured_retry_after() -> None:
    router = Router(max_queued_requests=1, max_waiting_models=1)
    router.up("r0", held=("a",), places=1)
    running = router.arrive("a")[0]
    for _ in range(10):
        router.do(ev.RequestFinished(running), after=0.5)
        running = router.arrive("a")[0]
    router.arrive("a")
    full = of(ev.Fail, router.arrive("b")[1])[0].failure
    assert (full.code, full.retry_after_s) == ("queue_full", 0.5)
    router.do(ev.LimitsChanged(SchedulerLimits(max_waiting_models=1)))
    crowded = of(ev.Fail, router.arrive("b")[1])[0].failure
    assert crowded.code == "too_many_models"


def test_a_pace_not_measured_yet_answers_one_second() -> None:
    router = Router(max_queued_requests=0)
    assert of(ev.Fail, router.arrive("a")[1])[0].failure.retry_after_s == 1.0


def test_ids_that_are_affinity_only_go_to_a_holder_then_by_the_ring() -> None:
    router = Router()
    for index in range(3):
        router.up(f"r{index}", index, caches=2, places=2)
    request, effects = router.arrive("a")
    home = of(ev.Dispatch, effects)[0]
    assert home.case == 105
    assert of(ev.Dispatch, router.arrive("a")[1])[0].replica != ""
    holder = next(f"r{index}" for index in range(3) if f"r{index}" != home.replica)
    router.publish(holder, "a", "resident")
    assert [(one.replica, one.case) for one in of(ev.Dispatch, router.arrive("a")[1])] == [(holder, 104)]
    for _ in range(3):
        router.arrive("a")
    waiting, effects = router.arrive("a")
    assert effects == []
    assert of(ev.Dispatch, router.do(ev.RequestFinished(request)))[0].request == waiting
    assert of(ev.Want, router.log) == []


def test_requests_are_queued_anew_when_ids_become_or_cease_to_be_affinity_only() -> None:
    router = Router()
    router.up("old", places=1)
    router.arrive("a")
    waiting = router.arrive("b")[0]
    effects = router.up("new", 1, caches=0, places=1)
    assert len(of(ev.Dispatch, effects)) == 1
    assert of(ev.Unwant, effects)
    router.do(ev.ReplicaDraining("new"))
    assert router.scheduler.queued == 1
    assert waiting == 2


def test_an_old_replica_that_needs_the_model_resident_is_passed_over() -> None:
    router = Router()
    router.up("loose", caches=2, places=1)
    router.up("strict", 1, places=1)
    router.arrive("a")
    waiting, effects = router.arrive("b")
    assert effects == []
    assert of(ev.Dispatch, router.arrive(None)[1]) == []
    assert waiting == 2


def test_a_replica_that_refuses_an_id_is_not_affinity_only() -> None:
    router = Router()
    router.up("r0", caches=2)
    request, _ = router.arrive("a")
    effects = router.do(ev.RequestRefused(request, "absent"))
    assert [want.model for want in of(ev.Want, effects)] == ["a"]
    unkeyed, _ = router.arrive(None)
    assert of(ev.Dispatch, router.do(ev.RequestRefused(unkeyed, "absent")))


def test_words_of_replicas_and_about_requests_that_are_gone_change_nothing() -> None:
    router = Router()
    router.up("r0", held=("a",))
    state = repr(router.scheduler)
    for event in (
        ev.ReplicaDown("x"),
        ev.ReplicaDraining("x"),
        ev.ModelChanged("x", ModelStatus("a", "resident")),
        ev.SummaryChanged("x", Summary()),
        ev.PlaceOffered("x"),
        ev.WantWithdrawn("x", "a"),
        ev.WantWithdrawn("r0", "a"),
        ev.ModelChanged("r0", ModelStatus("b", "absent")),
        ev.RequestBegan(9),
        ev.RequestCancelled(9),
        ev.RequestRefused(9, "full"),
        ev.Woken(),
    ):
        assert router.do(event) == []
    assert repr(router.scheduler) == state


def test_a_model_that_goes_while_it_is_claimed_is_let_go_before_it_is_wanted_again() -> None:
    router = Router()
    router.up("r0", places=1)
    router.arrive("a")
    router.arrive("a")
    router.publish("r0", "a", "resident")
    effects = router.publish("r0", "a", "draining")
    assert [type(effect) for effect in effects] == [ev.Release, ev.Want]


def test_a_replica_with_more_of_others_requests_is_more_loaded() -> None:
    router = Router(routers=2)
    router.up("r0", places=8)
    router.up("r1", 1, places=8)
    router.summary("r0", in_flight=8)
    assert {of(ev.Dispatch, router.arrive(None)[1])[0].replica for _ in range(4)} == {"r1"}


def test_a_request_that_ends_while_it_waits_is_forgotten() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    router.do(ev.RequestFinished(request))
    assert router.scheduler.queued == 0


def test_the_ring_is_walked_where_candidates_are_many() -> None:
    router = Router()
    for index in range(40):
        router.up(f"r{index}", index)
    homes = {of(ev.Want, router.arrive(f"m{number}")[1])[0].replica for number in range(200)}
    assert len(homes) > 25
    router.up("twin", 3)
    router.do(ev.ReplicaDown("r3"))
    for number in range(200, 400):
        assert of(ev.Want, router.arrive(f"m{number}")[1])[0].replica != "r3"


def test_a_want_elsewhere_is_taken_back_when_another_router_started_the_load() -> None:
    router = Router(routers=2)
    router.up("r0")
    router.up("r1", 1)
    _, effects = router.arrive("a")
    home = of(ev.Want, effects)[0].replica
    other = "r1" if home == "r0" else "r0"
    effects = router.publish(other, "a", "loading")
    assert [(unwant.replica, unwant.case) for unwant in of(ev.Unwant, effects)] == [(home, 124)]
    assert of(ev.Want, router.do(ev.WantWithdrawn(home, "a")))[0].replica == other


def test_no_copy_is_wanted_where_a_want_is_still_being_taken_back() -> None:
    router = Router(routers=2)
    router.up("r0", places=1)
    router.up("r1", 1, places=1)
    _, effects = router.arrive("a")
    home = of(ev.Want, effects)[0].replica
    other = "r1" if home == "r0" else "r0"
    router.arrive("a")
    router.arrive("a")
    router.publish(other, "a", "resident")
    router.pass_time(3.0)
    assert [want.kind for want in of(ev.Want, router.log)] == ["cold"]
    router.do(ev.WantWithdrawn(home, "a"))
    router.pass_time(3.0)
    assert [want.kind for want in of(ev.Want, router.log)] == ["cold", "copy"]


def test_a_demand_whose_last_request_left_is_not_looked_after() -> None:
    router = Router()
    router.up("r0")
    request, _ = router.arrive("a")
    router.do(ev.RequestCancelled(request))
    assert router.pass_time(60.0) == []


def test_a_model_that_fails_again_where_it_was_believed_resident_is_gone() -> None:
    router = Router()
    router.up("r0", held=("a",))
    router.fails("r0", "a")
    assert of(ev.Fail, router.arrive("a")[1])
    assert of(ev.Dispatch, router.publish("r0", "a", "resident", load_s=0.0)) == []
    assert of(ev.Dispatch, router.arrive("a")[1])


def test_a_model_that_failed_on_two_replicas_is_sent_to_both() -> None:
    router = Router(dispatch_failed=True)
    router.up("r0", places=1)
    router.up("r1", 1, places=1)
    router.fails("r0", "a")
    router.fails("r1", "a")
    sent = {of(ev.Dispatch, router.arrive("a")[1])[0].replica for _ in range(2)}
    assert sent == {"r0", "r1"}
    router.publish("r0", "a", "absent")
    assert list(router.scheduler.state.failing.values()) == [router.scheduler.state.pool.by_id["r1"].bit]


def test_a_replica_that_holds_another_ones_bit_is_not_taken_for_it() -> None:
    router = Router()
    for index in range(20):
        router.up(f"r{index}", index)
    router.up("twin", 3)
    router.up("r20", 20)
    assert len({of(ev.Want, router.arrive(f"m{number}")[1])[0].replica for number in range(300)}) > 15


def test_replicas_that_all_hold_other_ones_bits_are_weighed_one_by_one() -> None:
    router = Router()
    for index in range(20):
        router.up(f"old{index}", index)
    for index in range(20):
        router.up(f"new{index}", index)
    for index in range(20):
        router.do(ev.ReplicaDown(f"old{index}"))
    assert len({of(ev.Want, router.arrive(f"m{number}")[1])[0].replica for number in range(100)}) > 10


def test_a_draining_replica_that_offers_a_place_is_not_used() -> None:
    router = Router(routers=2)
    router.up("r0", held=("a",))
    request, _ = router.arrive("a")
    router.do(ev.RequestRefused(request, "full"))
    router.do(ev.ReplicaDraining("r0"))
    assert of(ev.PassPlace, router.do(ev.PlaceOffered("r0")))


def test_a_want_whose_load_stops_under_way_at_a_blocked_pool_is_given_up() -> None:
    router = Router()
    router.up("r0", slots=1, summary=Summary(free_slots=0))
    router.arrive("a")
    router.publish("r0", "a", "loading")
    router.summary("r0", stuck=1)
    assert of(ev.Fail, router.log) == []
    router.publish("r0", "a", "abandoned")
    assert [fail.failure.code for fail in of(ev.Fail, router.pass_time(60.0))] == ["slots_busy"]


def test_the_others_hear_when_a_load_that_requests_wait_for_ends() -> None:
    router = Router()
    router.up("r0", 0)
    router.up("r1", 1)
    home = of(ev.Want, router.arrive("m")[1])[0].replica
    router.publish(home, "known", "resident", 0.4)
    told = of(ev.Expect, router.publish(home, "m", "loading"))
    assert [(expect.replica, expect.in_s) for expect in told] == [("r0" if home == "r1" else "r1", 0.4)]
    assert of(ev.Expect, router.publish(home, "other", "loading")) == []


def test_nobody_hears_when_a_load_ends_before_any_was_measured() -> None:
    router = Router()
    router.up("r0", 0)
    router.up("r1", 1)
    home = of(ev.Want, router.arrive("m")[1])[0].replica
    assert of(ev.Expect, router.publish(home, "m", "loading")) == []


def test_in_a_large_pool_nobody_hears_of_loads_elsewhere() -> None:
    router = Router()
    for number in range(9):
        router.up(f"r{number}", number)
    home = of(ev.Want, router.arrive("m")[1])[0].replica
    router.publish(home, "known", "resident", 0.4)
    assert of(ev.Expect, router.publish(home, "m", "loading")) == []


def test_the_time_that_a_load_took_is_no_reason_for_a_copy() -> None:
    router = Router()
    router.up("r0", 0, places=1)
    router.up("r1", 1, places=1)
    home = of(ev.Want, router.arrive("m")[1])[0].replica
    router.arrive("m")
    router.publish(home, "m", "loading")
    router.pass_time(0.2)
    assert of(ev.Want, router.publish(home, "m", "resident", 0.2)) == []
    assert [want.kind for want in of(ev.Want, router.pass_time(0.3))] == ["copy"]


def test_wants_beyond_what_a_replica_could_start_move_to_one_that_connects() -> None:
    router = Router()
    router.up("r0", 0, slots=2)
    for number in range(5):
        router.arrive(f"m{number}")
    moved = of(ev.Unwant, router.up("r1", 1, slots=2))
    assert [unwant.model for unwant in moved] == ["m2", "m3"]


@pytest.mark.parametrize("models", [4, 6, 8])
def test_cold_models_spread_evenly_over_replicas_with_free_slots(models: int) -> None:
    router = Router()
    router.up("r0", 0, slots=4)
    router.up("r1", 1, slots=4)
    homes = [of(ev.Want, router.arrive(f"m{number}")[1])[0].replica for number in range(models)]
    assert homes.count("r0") == homes.count("r1") == models // 2
