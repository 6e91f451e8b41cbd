"""Ways in which a request waited far longer than its turn, each found by the bound on waits in a simulated pool."""

from __future__ import annotations

import pytest

from runtime.core import events as ev
from runtime.core.demands import MOVES
from runtime.core.slots import UNLIMITED
from tests.core.fakes import Replica, Router, key, of


def test_a_router_that_always_has_more_requests_does_not_keep_its_model_for_ever() -> None:
    replica = Replica(slots=(1,), places=1, swap_wait_s=0.2)
    replica.load("hot")
    replica.offer("1", "hot")
    replica.want("cold", link=1)
    for number in range(1, 30):
        assert isinstance(replica.offer(f"{number} early", "hot"), ev.Refuse)  # the place is taken: owed
        replica.do(ev.Ended(f"{number}"), after=0.1)
        answer = replica.offer(f"{number + 1}", "hot")
        if isinstance(answer, ev.Refuse):
            break
    assert replica.now < 101.0
    assert [unload.room_for for unload in of(ev.Unload, replica.log)][-1:] == [None]  # it drained, and went
    assert [load.key.model for load in of(ev.Load, replica.do(ev.Unloaded(key("hot"))))] == ["cold"]


def test_a_request_refused_for_its_model_gives_back_the_place_that_it_was_offered() -> None:
    replica = Replica(slots=(1,), places=1)
    replica.load("m")
    replica.offer("r0", "m", link=0)
    assert isinstance(replica.offer("r1", "m", link=1), ev.Refuse)
    assert isinstance(replica.offer("r2", "m", link=2), ev.Refuse)
    assert [offer.link for offer in of(ev.OfferPlace, replica.do(ev.Ended("r0")))] == [1]
    effects = replica.do(ev.Offered(1, "r1", "gone"))
    assert [type(effect) for effect in effects[:2]] == [ev.Refuse, ev.OfferPlace]
    assert [offer.link for offer in of(ev.OfferPlace, effects)] == [2]
    assert isinstance(replica.offer("r2", "m", link=2), ev.Admit)


@pytest.mark.parametrize(("ask", "retry_after_s"), [("want", 2.0), ("code", 2.0), ("preload", 1.0)])
def test_who_wants_a_model_whose_load_was_given_up_is_told_so_at_once(ask: str, retry_after_s: float) -> None:
    replica = Replica(slots=(2,), load_timeout_s=5.0)
    replica.want("a")
    replica.pass_time(100.0)  # it hangs, and its failure is not remembered any more
    assert replica.state("a") == "abandoned"
    if ask == "code":
        effects = replica.do(ev.Asked(7, None, key("a")))
        failures = [denied.failure for denied in of(ev.Deny, effects)]
    else:
        effects = replica.want("a") if ask == "want" else replica.do(ev.Preload(key("a")))
        failures = [told.status.failure for told in of(ev.Publish, effects) if told.status.failure is not None]
    assert [(failure.code, failure.retry_after_s) for failure in failures] == [("load_timeout", retry_after_s)]
    assert "has not returned" in failures[0].message
    replica.do(ev.Loaded(key("a")))
    replica.do(ev.Unloaded(key("a")))
    replica.pass_time(5.0)
    assert [load.key for load in of(ev.Load, replica.want("a"))] == [key("a")]


def test_who_waits_for_a_cleanup_is_told_when_that_is_given_up() -> None:
    replica = Replica(slots=(2,), unload_timeout_s=5.0)
    replica.load("a")
    replica.do(ev.UnloadAsked(key("a")))
    replica.want("a")
    effects = replica.pass_time(6.0)
    assert replica.state("a") == "abandoned"
    told = [effect.status for effect in of(ev.Publish, effects) if effect.status.failure is not None]
    assert [(status.model, status.failure and status.failure.code) for status in told] == [("a", "load_timeout")]


def test_an_older_request_that_comes_back_makes_the_want_as_old_as_itself() -> None:
    router = Router()
    router.up("r0", held=("m",))
    old, _ = router.arrive("m")
    router.publish("r0", "m", "absent")  # evicted while the request is on its way
    router.pass_time(0.2)
    _, effects = router.arrive("m")
    assert [want.age_s for want in of(ev.Want, effects)] == [0.0]
    effects = router.do(ev.RequestRefused(old, "absent"))
    assert [(want.model, want.age_s, want.waiting) for want in of(ev.Want, effects)] == [("m", pytest.approx(0.2), 2)]


@pytest.mark.parametrize("state", ["loading", "fetching"])
def test_the_age_of_a_want_is_not_said_again_once_its_load_has_begun(state: ev.ModelState) -> None:
    router = Router()
    router.up("r0", held=("m",))
    old, _ = router.arrive("m")
    router.publish("r0", "m", "absent")
    router.arrive("m")
    router.publish("r0", "m", state)
    again = of(ev.Want, router.do(ev.RequestRefused(old, "absent"), after=0.2))
    assert len(again) == (state == "fetching")  # a file at hand still waits for its slot


def test_a_younger_request_that_comes_back_changes_no_want() -> None:
    router = Router()
    router.up("r0", held=("m",), places=2)
    router.arrive("m")
    second, _ = router.arrive("m")
    router.publish("r0", "m", "absent")
    router.do(ev.RequestRefused(1, "absent"))
    assert of(ev.Want, router.do(ev.RequestRefused(second, "absent"))) == []


@pytest.mark.parametrize("slots", [-1, 4])
def test_a_budget_whose_every_byte_hangs_is_a_fault(slots: int) -> None:
    replica = Replica(slots=(slots,), max_bytes=10, load_timeout_s=5.0)
    replica.load("a", size_bytes=5)
    replica.want("b")
    assert replica.state("b") == "loading"
    effects = replica.pass_time(6.0)
    assert of(ev.Fault, effects) == []  # half of the bytes serve on
    replica.want("c")
    assert of(ev.Unload, replica.log)[-1].key == key("a")
    replica.do(ev.Unloaded(key("a")))
    assert len(of(ev.Fault, replica.pass_time(6.0))) == 1


@pytest.mark.parametrize("slots", [-1, 4])
def test_who_waits_for_bytes_that_a_long_request_holds_is_told_so(slots: int) -> None:
    replica = Replica(slots=(slots,), max_bytes=10, drain_limit_s=5.0)
    replica.load("long", size_bytes=10)
    replica.offer("stream", "long")
    waiter, _ = replica.ask("b")
    effects = replica.pass_time(6.0)
    assert [(denied.waiter, denied.failure.code) for denied in of(ev.Deny, effects)] == [(waiter, "slots_busy")]
    stuck = of(ev.Summarise, effects)[-1].summary.stuck
    router = Router()
    router.up("r0", slots=slots, held=("long",))
    router.do(ev.SummaryChanged("r0", ev.Summary(stuck=stuck)))
    _, told = router.arrive("b")
    assert [failed.failure.code for failed in of(ev.Fail, told)] == ["slots_busy"]
    replica.do(ev.Ended("stream"))
    assert of(ev.Summarise, replica.pass_time(1.0))[-1].summary.stuck == 0


@pytest.mark.parametrize("slots", [-1, 4])
def test_a_budget_of_which_what_hangs_leaves_too_little_for_any_model_is_a_fault(slots: int) -> None:
    replica = Replica(slots=(slots,), max_bytes=250, load_timeout_s=5.0)
    replica.load("a", size_bytes=100)
    replica.want("b")
    assert of(ev.Fault, replica.pass_time(6.0)) == []
    replica.want("c")
    replica.do(ev.Unloaded(key("a")))
    assert len(of(ev.Fault, replica.pass_time(6.0))) == 1  # 50 bytes are left, and every model took 100


def crowded(slots: int) -> Replica:
    """Return a replica of 250 bytes with a long request on 200 of them, which has loaded large and small models."""
    replica = Replica(slots=(slots,), max_bytes=250, drain_limit_s=5.0, swap_wait_s=1.0)
    for model, size_bytes in (("large", 100), ("small", 40), ("long", 200)):
        replica.load(model, size_bytes=size_bytes)
        if model != "long":
            replica.do(ev.UnloadAsked(key(model)))
            replica.do(ev.Unloaded(key(model)))
    replica.offer("stream", "long")
    replica.pass_time(6.0)
    return replica


def blocked(replica: Replica) -> bool:
    """Return whether the replica publishes that nobody can make room there."""
    replica.pass_time(1.0)
    slots = replica.residency.state.caches[0].cap
    return of(ev.Summarise, replica.log)[-1].summary.stuck >= (slots if slots >= 0 else UNLIMITED)


@pytest.mark.parametrize("slots", [-1, 4])
def test_who_needs_more_bytes_than_a_long_request_leaves_is_told_so(slots: int) -> None:
    replica = crowded(slots)
    assert not blocked(replica)
    waiter, effects = replica.ask("large")
    assert [(denied.waiter, denied.failure.code) for denied in of(ev.Deny, effects)] == [(waiter, "slots_busy")]
    replica.want("large")
    assert blocked(replica)
    replica.do(ev.Unwanted(0, "large"))
    assert not blocked(replica)


def test_a_want_for_which_nobody_can_make_room_holds_up_no_smaller_one() -> None:
    replica = crowded(-1)
    replica.load("small", size_bytes=40)
    replica.offer("short", "small")
    replica.want("large")
    replica.want("tiny", link=1)  # never loaded: of the usual size, as far as is known
    replica.pass_time(2.0)
    assert replica.state("small") == "resident"  # it would yield in vain
    replica.do(ev.Ended("short"))
    replica.do(ev.UnloadAsked(key("small")))
    replica.do(ev.Unloaded(key("small")))
    assert [load.key.model for load in of(ev.Load, replica.want("small", link=1))] == ["small"]
    assert blocked(replica)
    replica.do(ev.Ended("stream"))
    assert [load.key.model for load in of(ev.Load, replica.do(ev.Unloaded(key("long"))))] == ["large", "tiny"]


def test_a_want_that_others_outrun_wherever_it_moves_stays_in_its_turn_at_last() -> None:
    router = Router(routers=2)
    for index in range(2):
        router.up(f"r{index}", index, slots=1, places=1, summary=ev.Summary(in_flight=1))
    _, effects = router.arrive("m")
    [want] = of(ev.Want, effects)
    for _ in range(MOVES):
        here, there = want.replica, {"r0": "r1", "r1": "r0"}[want.replica]
        router.summary(here, wants=1, in_flight=1)
        effects = router.summary(there, free_slots=1)
        assert [(unwant.replica, unwant.model) for unwant in of(ev.Unwant, effects)] == [(here, "m")]
        [want] = of(ev.Want, router.do(ev.WantWithdrawn(here, "m")))
        assert want.replica == there
        router.summary(there, wants=1, in_flight=1)  # another router's want was there before it
    assert of(ev.Unwant, router.summary(here, free_slots=1)) == []  # its age gets it the next slot where it is
