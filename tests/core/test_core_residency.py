"""One replica, rule by rule."""

from __future__ import annotations

import pytest

from runtime.core import events as ev
from runtime.core.events import Failure, Key, ReplicaLimits
from runtime.core.slots import History
from tests.core.fakes import BROKEN, Replica, key, of


def answer(effect: object) -> tuple[str, str]:
    """Return what became of an offered request."""
    if isinstance(effect, ev.Refuse):
        return "refuse", effect.why
    assert isinstance(effect, ev.Admit)
    return "admit", {None: "none", True: "hit", False: "miss"}[effect.hit]


def test_a_resident_model_admits_and_an_absent_one_refuses() -> None:
    replica = Replica()
    replica.load("a")
    assert answer(replica.offer(1, "a")) == ("admit", "hit")
    assert answer(replica.offer(2, "b")) == ("refuse", "absent")
    assert answer(replica.offer(3, None)) == ("admit", "none")
    replica.do(ev.Ended(1))
    replica.do(ev.Ended(3))
    replica.do(ev.Ended("never heard of"))


@pytest.mark.parametrize("limits", [{"slots": (1, 1)}, {"slots": ()}, {"load_early": False}])
def test_an_id_that_is_affinity_only_needs_nothing_resident(limits: dict[str, object]) -> None:
    replica = Replica(**limits)
    assert answer(replica.offer(1, "b")) == ("admit", "none")


def test_a_want_for_affinity_only_is_given_back() -> None:
    replica = Replica(slots=(1, 1))
    assert of(ev.Withdrawn, replica.want("a"))
    replica.do(ev.Unwanted(0, "a"))
    replica.do(ev.Released(0, "a"))


def test_a_failed_load_answers_all_once_is_remembered_and_forgotten() -> None:
    replica = Replica()
    replica.want("a")
    waiter, _ = replica.ask("a")
    effects = replica.do(ev.LoadFailed(key("a"), BROKEN), after=0.1)
    assert [deny.waiter for deny in of(ev.Deny, effects)] == [waiter]
    assert [p.status.state for p in of(ev.Publish, effects)] == ["failed"]
    assert answer(replica.offer(1, "a")) == ("refuse", "failed")
    assert of(ev.Deny, replica.ask("a")[1])
    assert [p.status.failure for p in of(ev.Publish, replica.want("a"))] != [None]
    assert of(ev.Load, replica.want("a", kind="admin"))
    replica.do(ev.LoadFailed(key("a"), BROKEN))
    replica.pass_time(1.5)
    assert answer(replica.offer(2, "a")) == ("refuse", "failed")
    replica.pass_time(1.0)
    assert answer(replica.offer(3, "a")) == ("refuse", "absent")


def test_user_code_that_handles_failures_itself_is_admitted_to_see_them() -> None:
    replica = Replica(admit_failed=True)
    replica.want("a")
    replica.do(ev.LoadFailed(key("a"), BROKEN))
    assert answer(replica.offer(1, "a")) == ("admit", "miss")
    assert of(ev.Deny, replica.ask("a", 1)[1])[0].failure.message == "boom"


def test_a_missing_file_takes_no_slot_and_evicts_nobody() -> None:
    replica = Replica(slots=(1,), has_source=True)
    replica.want("a")
    replica.do(ev.Fetched(key("a"), 3))
    replica.do(ev.Loaded(key("a")))
    replica.do(ev.Released(0, "a"))
    assert of(ev.Unload, replica.want("b")) == []
    effects = replica.do(ev.FetchFailed(key("b"), Failure("model_not_found", "no")))
    assert of(ev.Publish, effects)[0].status.failure is not None
    assert replica.resident == ["a"]


def test_a_want_given_back_while_its_file_is_fetched_leaves_nothing() -> None:
    replica = Replica(has_source=True)
    replica.want("a")
    effects = replica.do(ev.Unwanted(0, "a"))
    assert [p.status.state for p in of(ev.Publish, effects)] == ["absent"]
    assert len(of(ev.Withdrawn, effects)) == 1
    assert replica.do(ev.Fetched(key("a"), 1)) == []
    replica.want("b")
    replica.do(ev.Unwanted(0, "b"))
    assert replica.do(ev.FetchFailed(key("b"), BROKEN)) == []


def test_a_fetch_that_takes_too_long_is_given_up_and_not_started_twice() -> None:
    replica = Replica(has_source=True, load_timeout_s=5.0)
    waiter, _ = replica.ask("a")
    effects = replica.pass_time(6.0)
    assert [(deny.waiter, deny.failure.code) for deny in of(ev.Deny, effects)] == [(waiter, "load_timeout")]
    replica.pass_time(5.0)
    assert of(ev.Fetch, replica.want("a")) == []
    replica.do(ev.FetchFailed(key("a"), BROKEN))
    assert of(ev.Fetch, replica.log)[-1].key == key("a")
    assert len(of(ev.Fetch, replica.log)) == 2


def test_a_younger_fetch_is_not_given_up_with_an_older_one() -> None:
    replica = Replica(has_source=True, load_timeout_s=5.0)
    older, _ = replica.ask("a")
    replica.pass_time(2.0)
    replica.ask("b")
    assert [deny.waiter for deny in of(ev.Deny, replica.pass_time(4.0))] == [older]


def test_a_fetch_given_up_with_nobody_left_is_forgotten() -> None:
    replica = Replica(has_source=True, load_timeout_s=5.0)
    replica.want("a")
    replica.do(ev.Unwanted(0, "a"))
    replica.pass_time(6.0)
    replica.do(ev.Fetched(key("a"), 1))
    assert replica.residency.deadline() is None


def test_a_load_that_hangs_keeps_its_slot_and_is_unloaded_when_it_returns() -> None:
    replica = Replica(slots=(2,), load_timeout_s=5.0)
    waiter, _ = replica.ask("a")
    effects = replica.pass_time(6.0)
    assert of(ev.Deny, effects)[0].failure.code == "load_timeout"
    assert replica.state("a") == "abandoned"
    assert of(ev.Fault, effects) == []
    unloads = of(ev.Unload, replica.do(ev.Loaded(key("a"))))
    assert [unload.why for unload in unloads] == ["abandoned"]
    replica.do(ev.Unloaded(key("a")))
    assert replica.state("a") == "absent"
    assert waiter == 1


def test_an_abandoned_load_that_fails_frees_its_slot() -> None:
    replica = Replica(slots=(2,), load_timeout_s=5.0)
    replica.want("a")
    replica.pass_time(6.0)
    assert of(ev.Publish, replica.do(ev.LoadFailed(key("a"), BROKEN)))[0].status.state == "absent"


def test_a_replica_whose_every_slot_hangs_says_so_once() -> None:
    replica = Replica(slots=(1,), unload_timeout_s=3.0, load_timeout_s=5.0)
    replica.load("a")
    replica.want("b")
    effects = replica.pass_time(4.0)
    assert len(of(ev.Fault, effects)) == 1
    assert replica.state("a") == "abandoned"
    replica.pass_time(10.0)
    assert len(of(ev.Fault, replica.log)) == 1
    assert of(ev.Load, replica.do(ev.Unloaded(key("a"))))[0].key == key("b")


def test_words_about_models_that_are_not_there_change_nothing() -> None:
    replica = Replica()
    state = repr(replica.residency)
    for event in (ev.PinChanged(key("x"), False), ev.UnloadAsked(key("x")), ev.AskCancelled(9)):
        replica.do(event)
    for event in (ev.Unloaded(key("x")), ev.Loaded(key("x")), ev.LoadFailed(key("x"), BROKEN)):
        replica.residency.handle(event, replica.now)
    assert repr(replica.residency) == state


def test_loads_run_side_by_side_up_to_their_permits() -> None:
    replica = Replica(slots=(5,), max_concurrent_loads=2)
    for model in "abc":
        replica.want(model)
    assert [replica.state(model) for model in "abc"] == ["loading", "loading", "absent"]
    replica.do(ev.Loaded(key("a")))
    assert replica.state("c") == "loading"


def test_no_drain_is_taken_back_while_its_want_waits_for_a_permit() -> None:
    replica = Replica(slots=(2,), max_concurrent_loads=1, swap_wait_s=0.0)
    replica.load("a")
    replica.offer(1, "a")
    replica.pass_time(1.0)
    replica.load("b")
    replica.offer(2, "b")
    replica.pass_time(1.0)
    replica.want("c")
    assert replica.state("a") == "draining"
    replica.do(ev.Ended(2))
    assert replica.state("b") == "unloading"
    assert replica.state("a") == "resident"


def test_places_are_bounded_and_an_owed_router_is_offered_the_next_one() -> None:
    replica = Replica(places=1)
    replica.load("a")
    replica.offer(1, "a", link=1)
    assert answer(replica.offer(2, "a", link=2)) == ("refuse", "full")
    assert answer(replica.offer(3, "a", link=3)) == ("refuse", "full")
    assert [offer.link for offer in of(ev.OfferPlace, replica.do(ev.Ended(1)))] == [2]
    assert answer(replica.offer(4, "a", link=1)) == ("refuse", "full")
    assert [offer.link for offer in of(ev.OfferPlace, replica.do(ev.PlacePassed(2)))] == [3]
    assert answer(replica.offer(5, "a", link=3)) == ("admit", "hit")
    replica.do(ev.PlacePassed(3))
    assert [offer.link for offer in of(ev.OfferPlace, replica.do(ev.Ended(5)))] == [1]


def test_an_offer_that_nobody_answers_lapses_and_goes_to_the_next() -> None:
    replica = Replica(places=1, claim_grace_s=2.0)
    replica.load("a")
    replica.offer(1, "a")
    replica.offer(2, "a", link=1)
    replica.offer(3, "a", link=2)
    replica.do(ev.Ended(1))
    assert [offer.link for offer in of(ev.OfferPlace, replica.pass_time(2.5))] == [2]
    replica.do(ev.LinkDown(2))
    assert answer(replica.offer(4, "a")) == ("admit", "hit")


def test_two_places_promised_to_one_router_are_two_promises() -> None:
    replica = Replica(places=2, claim_grace_s=1.0)
    replica.load("a")
    for request in (1, 2):
        replica.offer(request, "a")
    replica.offer(3, "a", link=1)
    replica.do(ev.Ended(1))
    replica.offer(4, "a", link=1)
    assert "2/2" not in repr(replica.residency)
    replica.offer(5, "a", link=1)
    replica.do(ev.Ended(2), after=0.5)
    replica.offer(6, "a", link=2)
    replica.pass_time(3.0)
    assert replica.residency.state.admission.promised == 0


def test_a_claim_ends_with_its_grace_or_its_link() -> None:
    replica = Replica(slots=(1,), claim_grace_s=2.0, swap_wait_s=100.0)
    replica.want("a")
    replica.do(ev.Loaded(key("a")))
    replica.want("b", link=1)
    assert of(ev.Unload, replica.pass_time(1.0)) == []
    assert of(ev.Unload, replica.pass_time(1.5))
    replica.do(ev.Unloaded(key("a")))
    replica.do(ev.Loaded(key("b")))
    replica.want("b", link=2)
    replica.want("c", link=3)
    replica.do(ev.LinkDown(1))
    assert replica.state("b") == "resident"
    assert of(ev.Unload, replica.do(ev.LinkDown(2)))


def test_a_lost_link_takes_its_wants_along() -> None:
    replica = Replica(slots=(1,), swap_wait_s=100.0)
    replica.load("a")
    replica.offer(1, "a")
    replica.want("b", link=1)
    replica.do(ev.LinkDown(1))
    assert replica.residency.state.wants[0].waiting == 0


def test_a_want_given_back_after_the_load_began_only_drops_the_claim() -> None:
    replica = Replica(slots=(1,))
    replica.want("a")
    assert of(ev.Withdrawn, replica.do(ev.Unwanted(0, "a"))) == []
    replica.do(ev.Loaded(key("a")))
    assert of(ev.Unload, replica.want("b"))
    replica.do(ev.Unwanted(0, "never wanted"))


def test_a_model_in_frequent_use_gets_a_moment_of_grace_when_idle() -> None:
    replica = Replica(slots=(1,), swap_wait_s=100.0)
    replica.load("a", load_s=1.0)
    replica.use("a", times=5, seconds=0.01)
    assert of(ev.Unload, replica.want("b")) == []
    assert of(ev.Unload, replica.pass_time(0.05)) == []
    assert of(ev.Unload, replica.pass_time(0.02))


def frequent(*models: str) -> Replica:
    """A replica of two slots with models that were each used a few times within their load time of a second."""
    replica = Replica(slots=(2,), swap_wait_s=100.0)
    for model in models:
        replica.load(model, load_s=1.0)
    for model in models:
        replica.use(model, times=5, seconds=0.01)
    return replica


def test_a_model_in_frequent_use_stays_for_the_requests_that_a_load_brings_back() -> None:
    replica = frequent("a")
    replica.want("b")
    replica.use("a", times=10, seconds=0.06)
    replica.want("c")
    assert of(ev.Unload, replica.pass_time(0.3)) == []
    replica.do(ev.Loaded(ev.Key(0, "b")), after=0.1)
    assert replica.state("a") == "unloading"


def test_a_load_that_has_just_begun_is_no_reason_to_stay() -> None:
    replica = frequent("a")
    replica.want("b")
    replica.want("c")
    assert [unload.key.model for unload in of(ev.Unload, replica.pass_time(0.1))] == ["a"]


def test_a_model_in_frequent_use_stays_while_another_one_serves() -> None:
    replica = frequent("a", "b")
    replica.offer("r", "a")
    replica.want("c")
    assert of(ev.Unload, replica.pass_time(0.5)) == []
    assert [unload.key.model for unload in of(ev.Unload, replica.do(ev.Ended("r")))] == ["b"]


def test_a_model_in_frequent_use_stays_for_a_load_time_at_most() -> None:
    replica = frequent("a", "b")
    replica.offer("r", "a")
    replica.want("c")
    assert [unload.key.model for unload in of(ev.Unload, replica.pass_time(1.1))] == ["b"]


@pytest.mark.parametrize(("in_s", "stays"), [(0.3, True), (0.7, False)])
def test_a_load_elsewhere_that_ends_soon_is_a_reason_to_stay(in_s: float, stays: bool) -> None:
    replica = frequent("a", "b")
    replica.do(ev.Expected(0, in_s))
    replica.want("c")
    assert bool(of(ev.Unload, replica.pass_time(0.2))) is not stays
    replica.pass_time(0.3)
    assert "unloading" in (replica.state("a"), replica.state("b"))


def test_a_model_stays_for_a_moment_after_a_load_elsewhere_whatever_happens_meanwhile() -> None:
    replica = frequent("a", "b")
    replica.do(ev.Expected(0, 0.3))
    replica.want("c")
    replica.pass_time(0.31)
    assert of(ev.Unload, replica.want("d")) == []
    assert of(ev.Unload, replica.pass_time(0.04)) == []
    assert of(ev.Unload, replica.pass_time(0.02))


def test_a_copy_takes_only_what_is_spared_or_long_idle() -> None:
    replica = Replica(slots=(2,))
    replica.load("spare", load_s=1.0)
    replica.load("kept", load_s=1.0)
    effects = replica.do(ev.Wanted(0, "hot", "copy", 0.0, 5, "spare"))
    assert [unload.key.model for unload in of(ev.Unload, effects)] == ["spare"]
    replica.do(ev.Unloaded(key("spare")))
    replica.do(ev.Loaded(key("hot")))
    replica.pass_time(2.0)
    assert replica.state("hot") == "resident"


def test_a_copy_takes_what_has_been_idle_for_a_load_time() -> None:
    replica = Replica(slots=(1,))
    replica.load("kept", load_s=1.0)
    replica.do(ev.Wanted(0, "hot", "copy", 0.0, 5, None))
    assert of(ev.Unload, replica.pass_time(0.9)) == []
    assert [unload.key.model for unload in of(ev.Unload, replica.pass_time(0.2))] == ["kept"]


def test_a_copy_never_makes_a_busy_model_yield() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.load("a")
    replica.offer(1, "a")
    replica.do(ev.Wanted(0, "hot", "copy", 9.0, 5))
    replica.pass_time(5.0)
    assert replica.state("a") == "resident"


def test_an_idle_model_is_unloaded_after_idle_unload_s() -> None:
    replica = Replica(idle_unload_s=10.0)
    replica.load("a")
    replica.pass_time(5.0)
    replica.load("b")
    assert [u.key.model for u in of(ev.Unload, replica.pass_time(6.0))] == ["a"]
    assert [u.why for u in of(ev.Unload, replica.pass_time(6.0))] == ["idle"]


def test_pins_hold_and_an_operator_may_take_them_off() -> None:
    replica = Replica(slots=(2,), swap_wait_s=0.0)
    replica.do(ev.Preload(key("a"), pinned=True))
    replica.do(ev.Loaded(key("a"), 1), after=0.1)
    replica.do(ev.Preload(key("a")))
    replica.load("b")
    assert [unload.key.model for unload in of(ev.Unload, replica.want("c"))] == ["b"]
    assert [unload.why for unload in of(ev.Unload, replica.do(ev.UnloadAsked(key("a"))))] == ["admin"]


def test_an_operators_unload_waits_for_requests_and_answers_those_who_wait() -> None:
    replica = Replica(slots=(1,), swap_wait_s=100.0)
    replica.load("a")
    replica.offer(1, "a")
    waiter, _ = replica.ask("b")
    denied = of(ev.Deny, replica.do(ev.UnloadAsked(key("b"))))
    assert [(deny.waiter, deny.failure.code) for deny in denied] == [(waiter, "model_unloaded")]
    replica.do(ev.UnloadAsked(key("a")))
    replica.do(ev.UnloadAsked(key("a")))
    assert replica.state("a") == "draining"
    assert [unload.why for unload in of(ev.Unload, replica.do(ev.Ended(1)))] == ["admin"]


def test_an_operators_unload_of_a_loading_model_takes_effect_when_it_is_loaded() -> None:
    replica = Replica()
    waiter, _ = replica.ask("a")
    replica.do(ev.UnloadAsked(key("a")))
    effects = replica.do(ev.Loaded(key("a")))
    assert of(ev.Deny, effects)[0].failure.code == "model_unloaded"
    assert of(ev.Unload, effects)[0].why == "admin"
    assert waiter == 1


def test_a_drain_is_taken_back_by_a_pin_and_answers_who_wanted_the_model_meanwhile() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.load("a")
    replica.offer(1, "a")
    replica.pass_time(1.0)
    replica.want("b")
    waiter, _ = replica.ask("a", None)
    assert replica.state("a") == "draining"
    effects = replica.do(ev.PinChanged(key("a"), True))
    assert [give.waiter for give in of(ev.Give, effects)] == [waiter]


def test_bytes_are_reserved_corrected_and_never_started_while_over() -> None:
    replica = Replica(slots=(10,), max_bytes=10)
    replica.load("a", size_bytes=4)
    replica.load("b", size_bytes=4)
    replica.pass_time(1.0)
    assert [unload.key.model for unload in of(ev.Unload, replica.want("c"))] == ["a"]
    replica.do(ev.Unloaded(key("a")))
    effects = replica.do(ev.Loaded(key("c"), 9))
    assert [unload.key.model for unload in of(ev.Unload, effects)] == ["b"]
    assert of(ev.Load, replica.want("d")) == []


def test_a_model_larger_than_the_budget_fails_before_anyone_is_evicted() -> None:
    replica = Replica(slots=(3,), max_bytes=10, has_source=True)
    replica.want("a")
    replica.do(ev.Fetched(key("a"), 5))
    replica.do(ev.Loaded(key("a"), 5))
    replica.do(ev.Released(0, "a"))
    replica.want("big")
    effects = replica.do(ev.Fetched(key("big"), 11))
    assert of(ev.Publish, effects)[0].status.failure is not None
    assert of(ev.Unload, effects) == []
    replica.want("surprise")
    replica.do(ev.Fetched(key("surprise"), 1))
    effects = replica.do(ev.Loaded(key("surprise"), 50))
    assert [unload.why for unload in of(ev.Unload, effects) if unload.key.model == "surprise"] == ["over_budget"]


def test_a_small_want_goes_before_a_large_one_until_that_is_old() -> None:
    replica = Replica(slots=(9,), max_bytes=10, swap_wait_s=1.0, has_source=True)
    replica.want("held")
    replica.do(ev.Fetched(key("held"), 6))
    replica.do(ev.Loaded(key("held"), 6))
    replica.do(ev.Released(0, "held"))
    replica.offer(1, "held")
    for model, size in (("large", 8), ("small", 2)):
        replica.want(model)
        replica.do(ev.Fetched(key(model), size))
    assert (replica.state("large"), replica.state("small")) == ("absent", "loading")
    replica.do(ev.Loaded(key("small"), 2))
    replica.do(ev.Released(0, "small"))
    replica.pass_time(2.0)
    replica.do(ev.Unloaded(key("small")))
    assert replica.state("held") == "draining"


def test_a_large_want_waits_for_the_grace_of_those_it_needs() -> None:
    replica = Replica(slots=(9,), max_bytes=10, swap_wait_s=100.0)
    replica.load("a", load_s=1.0, size_bytes=9)
    replica.use("a", times=5, seconds=0.01)
    assert of(ev.Unload, replica.want("b")) == []
    assert of(ev.Unload, replica.pass_time(0.2))


def test_user_code_asks_inside_and_outside_a_request() -> None:
    replica = Replica(slots=(1, 2))
    replica.offer(1, None)
    waiter, effects = replica.ask("a", 1, cache=1)
    assert [load.key for load in of(ev.Load, effects)] == [Key(1, "a")]
    replica.do(ev.Loaded(Key(1, "a")))
    assert of(ev.Give, replica.ask("a", 1, cache=1)[1])
    assert of(ev.Give, replica.ask("a", None, cache=1)[1])
    replica.offer(2, None)
    assert of(ev.Give, replica.ask("a", 2, cache=1)[1])
    cancelled, _ = replica.ask("a", 2, cache=0)
    replica.do(ev.AskCancelled(cancelled))
    replica.ask("b", 2, cache=0)
    replica.do(ev.Ended(2))
    replica.do(ev.Ended(1))
    assert replica.residency.state.entry(Key(1, "a")) is not None
    assert waiter == 1


def test_two_caches_publish_the_most_useful_state_of_a_model() -> None:
    replica = Replica(slots=(1, 1), has_source=True)
    replica.ask("a", cache=0)
    replica.do(ev.Fetched(Key(0, "a")))
    replica.ask("a", cache=1)
    assert of(ev.Publish, replica.log)[-1].status.state == "loading"
    replica.do(ev.Loaded(Key(0, "a")))
    assert of(ev.Publish, replica.log)[-1].status.state == "resident"
    models, summary = replica.residency.snapshot(replica.now)
    assert [status.state for status in models] == ["resident"]
    assert summary.free_slots == 1


@pytest.mark.parametrize("blocker", ["pin", "stream"])
def test_user_code_is_told_when_every_slot_is_blocked(blocker: str) -> None:
    replica = Replica(slots=(1,), drain_limit_s=5.0, swap_wait_s=100.0)
    replica.load("a")
    if blocker == "pin":
        replica.do(ev.PinChanged(key("a"), True))
    else:
        replica.offer(1, "a")
    _, effects = replica.ask("b")
    denied = of(ev.Deny, effects + replica.pass_time(6.0))
    assert [deny.failure.code for deny in denied] == ["slots_busy"]


def test_a_load_asked_for_by_an_operator_is_refused_when_every_slot_is_pinned() -> None:
    replica = Replica(slots=(1,))
    replica.load("a")
    replica.do(ev.PinChanged(key("a"), True))
    effects = replica.do(ev.Preload(key("b")))
    failure = of(ev.Publish, effects)[0].status.failure
    assert failure is not None
    assert failure.code == "slots_busy"


def test_stopping_refuses_lets_run_and_unloads_everything() -> None:
    replica = Replica(slots=(3,), max_concurrent_loads=1, has_source=True)
    for model in ("a", "b"):
        replica.want(model)
        replica.do(ev.Fetched(key(model)))
        replica.do(ev.Loaded(key(model)))
    replica.offer(1, "a")
    replica.want("c")
    replica.do(ev.Fetched(key("c")))
    replica.want("d", link=4)
    effects = replica.do(ev.Stopping())
    assert [(one.link, one.model) for one in of(ev.Withdrawn, effects)] == [(4, "d")]
    assert [unload.key.model for unload in of(ev.Unload, effects)] == ["b"]
    assert answer(replica.offer(2, "a")) == ("refuse", "draining")
    assert of(ev.Withdrawn, replica.want("e"))
    assert of(ev.Deny, replica.ask("e")[1])[0].failure.code == "draining"
    replica.do(ev.Preload(key("e")))
    assert of(ev.Unload, replica.do(ev.Loaded(key("c"))))[0].why == "shutdown"
    replica.ask("a", 1)
    assert of(ev.Unload, replica.do(ev.Ended(1)))[0].key.model == "a"


def test_changed_limits_take_effect_at_once() -> None:
    replica = Replica(slots=(3,), places=1)
    for model in "abc":
        replica.load(model)
    replica.offer(1, "a")
    replica.offer(2, "a", link=1)
    effects = replica.do(ev.ReplicaLimitsChanged(ReplicaLimits(slots=(1,), places=2, eviction="lfu")))
    assert sorted(unload.key.model for unload in of(ev.Unload, effects)) == ["b", "c"]
    assert [offer.link for offer in of(ev.OfferPlace, effects)] == [1]


def test_the_cap_may_be_lowered_below_what_is_in_use() -> None:
    replica = Replica(slots=(2,))
    for request, model in enumerate("ab"):
        replica.load(model)
        replica.offer(request, model)
    effects = replica.do(ev.ReplicaLimitsChanged(ReplicaLimits(slots=(1,))))
    assert of(ev.Unload, effects) == []
    assert of(ev.Unload, replica.do(ev.Ended(0)))


def test_the_summary_is_sent_at_most_every_ten_milliseconds_and_when_a_model_cools() -> None:
    replica = Replica(places=16)
    replica.load("a")
    replica.pass_time(1.0)
    sent = [of(ev.Summarise, replica.do(ev.Offered(0, number, "a"), after=0.001)) for number in range(10)]
    assert sum(len(one) for one in sent) <= 2
    for number in range(10):
        replica.do(ev.Ended(number))
    coldness = [one.summary.coldness for one in of(ev.Summarise, replica.pass_time(60.0))]
    assert coldness == sorted(coldness)
    assert len(coldness) < 25
    replica.pass_time(3e6)
    assert replica.residency.deadline() is None


def test_a_router_that_connects_asks_for_nothing() -> None:
    replica = Replica()
    assert of(ev.Publish, replica.do(ev.LinkUp(1))) == []


def test_requests_in_two_caches_that_wait_for_each_other_are_found() -> None:
    replica = Replica(slots=(1, 1), swap_wait_s=0.0)
    for request, cache in ((1, 0), (2, 1)):
        replica.offer(request, None)
        replica.ask("held", request, cache)
        replica.do(ev.Loaded(Key(cache, "held")), after=0.1)
    assert of(ev.Deny, replica.ask("other", 1, cache=1)[1]) == []
    _, effects = replica.ask("other", 2, cache=0)
    assert [deny.failure.code for deny in of(ev.Deny, effects)] == ["slot_deadlock"]


def test_a_pinned_slot_and_a_waiting_holder_are_a_deadlock_too() -> None:
    replica = Replica(slots=(2,), swap_wait_s=0.0)
    replica.load("pinned")
    replica.do(ev.PinChanged(key("pinned"), True))
    replica.load("a")
    replica.offer(1, "a")
    replica.ask("a", 1)
    assert of(ev.Deny, replica.ask("b", 1)[1])[0].failure.code == "slot_deadlock"


def test_one_request_that_asks_twice_for_a_loading_model_holds_one_lease() -> None:
    replica = Replica(load_early=False)
    replica.offer(1, None)
    waiters = [replica.ask("a", 1)[0] for _ in range(2)]
    effects = replica.do(ev.Loaded(key("a")))
    assert [give.waiter for give in of(ev.Give, effects)] == waiters
    (entry,) = replica.residency.state.caches[0].entries.values()
    assert entry.leases == 1


def test_a_place_passed_that_was_never_offered_changes_nothing() -> None:
    replica = Replica()
    assert of(ev.OfferPlace, replica.do(ev.PlacePassed(3))) == []


def test_the_history_of_past_models_is_bounded() -> None:
    history = History(limit=2, half_life=10.0)
    for model in ("a", "b", "a", "c"):
        history.keep(key(model), history.recall(key(model)))
    assert len(history) == 2
    assert history.peek(key("b")) is None


def test_a_release_takes_back_a_want_that_waits_again() -> None:
    replica = Replica(slots=(1,), swap_wait_s=100.0)
    replica.load("a")
    replica.offer("r", "a")
    replica.want("b")
    replica.do(ev.Released(0, "b"))
    replica.do(ev.Ended("r"))
    assert replica.resident == ["a"]
