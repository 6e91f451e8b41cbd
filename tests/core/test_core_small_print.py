"""Rules that only show in company: ages, ageing, strikes, other routers' copies, half the slots, sizes remembered."""

from __future__ import annotations

from runtime.core import events as ev
from tests.core.fakes import BROKEN, Replica, Router, key, of


def test_a_want_is_as_old_as_its_first_request_not_as_its_message() -> None:
    replica = Replica(slots=(1,), swap_wait_s=60.0)
    replica.load("a")
    replica.offer("r", "a")
    replica.want("young", link=0)
    replica.want("old", link=1, age_s=5.0)
    [unload] = of(ev.Unload, [*replica.do(ev.Ended("r")), *replica.pass_time(1.0)])
    assert unload.room_for == key("old")


def test_lfu_forgets_yesterdays_favourite() -> None:
    replica = Replica(slots=(2,), eviction="lfu")
    replica.load("yesterday")
    replica.use("yesterday", times=50)
    replica.load("today")
    replica.use("today", times=45)
    replica.pass_time(60.0)
    assert [unload.key.model for unload in of(ev.Unload, replica.want("x"))] == ["yesterday"]


def test_a_model_that_loads_after_a_strike_starts_anew() -> None:
    router = Router()
    for number in range(4):
        router.up(f"r{number}")
        router.arrive("m")
        router.publish(f"r{number}", "m", "loading")
        if number % 2:
            router.publish(f"r{number}", "m", "resident")
        effects = router.do(ev.ReplicaDown(f"r{number}"))
        assert [fail for fail in of(ev.Fail, effects) if fail.case == 147] == []
    assert len(router.scheduler.state.strikes) == 0


def test_no_copy_is_wanted_while_another_routers_copy_loads() -> None:
    router = Router(routers=2)
    router.up("r0", 0, held=("m",), places=1)
    router.up("r1", 1)
    router.up("r2", 2)
    router.publish("r1", "m", "loading")
    for _ in range(20):
        router.arrive("m")
    assert of(ev.Want, router.pass_time(10.0)) == []
    effects = [*router.publish("r1", "m", "absent"), *router.pass_time(10.0)]
    assert [want.kind for want in of(ev.Want, effects)] == ["copy"]


def test_no_more_than_half_the_slots_swap_at_once() -> None:
    replica = Replica(slots=(4,), swap_wait_s=0.0)
    for model in "wxyz":  # no newcomers, which take turns anyway
        replica.load(model)
        replica.do(ev.UnloadAsked(key(model)))
        replica.do(ev.Unloaded(key(model)))
    for model in "abcd":
        replica.load(model)
        replica.offer(model, model)
    replica.pass_time(5.0)
    for model in "wxyz":
        replica.want(model)
    assert [replica.state(model) for model in "abcd"].count("draining") == 2


def test_a_model_that_was_here_before_is_given_the_bytes_it_took_then() -> None:
    replica = Replica(slots=(4,), max_bytes=10)
    replica.load("big", size_bytes=8)
    replica.do(ev.UnloadAsked(key("big")))
    replica.do(ev.Unloaded(key("big")))
    for model in ("small", "tiny"):
        replica.load(model, size_bytes=2)
    replica.pass_time(60.0)
    effects = replica.want("big")
    assert of(ev.Load, effects) == []
    assert [unload.key.model for unload in of(ev.Unload, effects)] == ["small"]


def test_nobody_is_evicted_for_a_model_whose_bytes_cannot_come_free_now() -> None:
    replica = Replica(slots=(4,), max_bytes=10, has_source=True, swap_wait_s=60.0)
    for model, size in (("used", 5), ("idle", 3)):
        replica.want(model)
        replica.do(ev.Fetched(key(model), size))
        replica.do(ev.Loaded(key(model), size), after=0.1)
        replica.do(ev.Released(0, model))
    replica.offer("r", "used")
    replica.pass_time(30.0)
    replica.want("big")
    assert of(ev.Unload, [*replica.do(ev.Fetched(key("big"), 8)), *replica.pass_time(20.0)]) == []
    unloads = of(ev.Unload, [*replica.do(ev.Ended("r")), *replica.pass_time(5.0)])
    assert {unload.room_for for unload in unloads} == {key("big")}


def test_files_are_fetched_a_few_ahead_and_no_more() -> None:
    replica = Replica(slots=(1,), has_source=True, max_concurrent_loads=1)
    for number in range(20):
        replica.want(f"m{number}")
    assert len(of(ev.Fetch, replica.log)) == 5


def test_a_queue_without_limit_has_a_ceiling() -> None:
    router = Router(max_queued_requests=-1, hard_queue_ceiling=3)
    failures = [fail.failure.code for _ in range(4) for fail in of(ev.Fail, router.arrive("m")[1])]
    assert failures == ["queue_full"]


def test_a_cold_model_is_not_wanted_where_every_slot_is_held_for_long() -> None:
    """Although all else speaks for that replica."""
    for name in (f"m{number}" for number in range(8)):
        router = Router()
        router.up("held", 0, slots=2)
        router.up("slow", 1, slots=2)
        router.summary("held", stuck=2, coldness=60, evictable=0)
        router.summary("slow", in_flight=5, coldness=1, evictable=0, wants=9)
        assert [want.replica for want in of(ev.Want, router.arrive(name)[1])] == ["slow"]


def test_a_load_that_an_operator_asks_for_is_not_answered_with_an_old_failure() -> None:
    replica = Replica(slots=(1,))
    replica.want("m")
    replica.do(ev.LoadFailed(key("m"), BROKEN))
    assert len(of(ev.Deny, replica.ask("m")[1])) == 1
    replica.do(ev.Preload(key("m")))
    waiter, effects = replica.ask("m")
    assert of(ev.Deny, effects) == []
    assert waiter in [give.waiter for give in of(ev.Give, replica.do(ev.Loaded(key("m")), after=0.1))]


def test_an_operators_unload_takes_the_pin_off_for_good() -> None:
    replica = Replica(slots=(2,))
    replica.load("m")
    replica.do(ev.PinChanged(key("m"), True))
    replica.do(ev.UnloadAsked(key("m")))
    replica.do(ev.Unloaded(key("m")))
    replica.load("m")
    assert [pinned for _, _, _, pinned in replica.residency.models()] == [False]


def test_a_model_that_cools_is_published_as_colder_and_colder_though_nothing_happens() -> None:
    replica = Replica(slots=(2,))
    replica.load("m")
    replica.use("m")
    replica.pass_time(10.0)  # beyond every other timer
    told = [one.summary.coldness for one in of(ev.Summarise, replica.pass_time(1000.0))]
    assert len(told) >= 5
    assert told == sorted(set(told))
