"""Schedules that break simpler brains, by name; each was seen to fail with one rule taken away."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import accumulate

import pytest

from runtime.core import events as ev
from runtime.core.events import Failure, ReplicaLimits, SchedulerLimits
from runtime.simulate.invariants import leftover, residue
from runtime.simulate.pool import Durations, Outcome, Pool, Timing
from tests.core.fakes import Replica, Router, of


def closed_loop(
    pool: Pool, clients: int, total: int, pick: Callable[[int], str | None], *, until: float | None = None
) -> list[Outcome]:
    """Let every client send its next request when the last is answered; client n uses router n modulo routers."""
    outcomes: list[Outcome] = []
    left = [total]

    def send(client: int) -> None:
        if left[0]:
            left[0] -= 1
            pool.submit(pick(client), lambda outcome: back(client, outcome), router=client % len(pool.routers))

    def back(client: int, outcome: Outcome) -> None:
        outcomes.append(outcome)
        send(client)

    def first(client: int) -> Callable[[], None]:
        return lambda: send(client)

    for client in range(clients):
        pool.at(0.05, first(client))
    pool.run(until)
    return outcomes


def clean(pool: Pool) -> None:
    for router in pool.routers:
        assert leftover(router.scheduler) == []
    for replica in pool.replicas.values():
        assert residue(replica.residency) == []


def worst(outcomes: list[Outcome]) -> float:
    assert all(outcome.failure is None for outcome in outcomes)
    return max(outcome.seconds for outcome in outcomes)


def test_two_wanted_models_do_not_evict_each_other_for_ever() -> None:
    pool = Pool(
        replicas=1,
        limits=ReplicaLimits(slots=(1,), swap_wait_s=0.1),
        durations=Durations(load=lambda m: Timing(0.05)),
    )
    outcomes = closed_loop(pool, 2, 200, lambda client: f"m{client}")
    assert len(outcomes) == 200
    assert pool.loads <= 201
    assert worst(outcomes) < 0.1 + 2 * (0.05 + 0.02) + 0.05
    clean(pool)


def test_a_claim_keeps_a_loaded_model_until_its_router_has_sent_its_requests() -> None:
    replica = Replica(slots=(1,), swap_wait_s=10.0)
    replica.want("a")
    replica.want("b")
    replica.do(ev.Loaded(ev.Key(0, "a")), after=0.1)
    assert replica.resident == ["a"]
    assert of(ev.Unload, replica.pass_time(1.0)) == []
    assert isinstance(replica.offer("r", "a"), ev.Admit)
    replica.do(ev.Released(0, "a"))
    assert [unload.key.model for unload in of(ev.Unload, replica.do(ev.Ended("r")))] == ["a"]


def test_a_claimed_model_does_not_yield_before_its_first_request() -> None:
    """A load is never for nothing: the model waits for a request that is still on its way."""
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.want("a")
    replica.want("b")
    replica.do(ev.Loaded(ev.Key(0, "a")), after=0.1)
    assert of(ev.Unload, replica.pass_time(1.0)) == []
    assert isinstance(replica.offer("r", "a"), ev.Admit)
    assert isinstance(replica.offer("another", "a"), ev.Admit)
    replica.do(ev.Ended("another"))
    replica.pass_time(0.1)
    assert replica.state("a") == "draining"
    assert [unload.key.model for unload in of(ev.Unload, replica.do(ev.Ended("r")))] == ["a"]


def test_a_claimed_model_waits_for_the_first_request_of_every_router() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.want("a", link=0)
    replica.want("a", link=1)
    replica.want("b")
    replica.do(ev.Loaded(ev.Key(0, "a")), after=0.1)
    replica.offer("near", "a", link=0)
    replica.do(ev.Ended("near"))
    assert of(ev.Unload, replica.pass_time(1.0)) == []
    replica.offer("far", "a", link=1)
    replica.pass_time(0.1)
    assert replica.state("a") == "draining"


def test_a_claimed_model_whose_router_is_silent_yields_when_the_claim_lapses() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0, claim_grace_s=3.0)
    replica.want("a")
    replica.want("b")
    replica.do(ev.Loaded(ev.Key(0, "a")), after=0.1)
    replica.want("a", link=1)
    replica.pass_time(2.9)
    assert replica.state("a") == "resident"
    assert [unload.key.model for unload in of(ev.Unload, replica.pass_time(0.2))] == ["a"]


@pytest.mark.parametrize("routers", [1, 2])
def test_models_do_not_yield_for_ever_where_a_message_takes_longer_than_a_load(routers: int) -> None:
    pool = Pool(
        replicas=1,
        limits=ReplicaLimits(slots=(1,), swap_wait_s=0.0),
        routers=routers,
        durations=Durations(load=lambda m: Timing(0.02), delay_s=lambda: 0.1),
    )
    outcomes = closed_loop(pool, 6, 120, lambda client: f"m{client // 2}", until=60.0)
    assert len(outcomes) == 120
    assert worst(outcomes) < 3 * (0.02 + 2 * 0.1 + 0.005) + 3 * 0.1
    clean(pool)


def test_a_want_beside_long_streams_moves_to_the_replica_that_can_start_it() -> None:
    """One replica's only slot is held by a stream of 20 s; wants placed there must not wait for it."""

    def work(model: str | None) -> float:
        return 20.0 if model == "stream" else 0.005

    pool = Pool(
        replicas=2,
        limits=ReplicaLimits(slots=(1,), swap_wait_s=0.2),
        durations=Durations(work_s=work, load=lambda m: Timing(0.1)),
    )
    outcomes: list[Outcome] = []
    pool.at(0.05, lambda: void(pool.submit("stream", outcomes.append)))

    def burst() -> None:
        for number in range(6):
            pool.submit(f"m{number}", outcomes.append)

    pool.at(1.0, burst)
    pool.run()
    short = [outcome for outcome in outcomes if outcome.model != "stream"]
    assert len(short) == 6
    assert worst(short) < 5.0
    clean(pool)


def void(_: object) -> None:
    """Ignore a value."""


def test_a_second_router_does_not_starve() -> None:
    """The first router keeps every place busy; the second one's requests still get their turns."""
    pool = Pool(
        replicas=1,
        limits=ReplicaLimits(slots=(1,), places=2),
        routers=2,
        durations=Durations(work_s=lambda m: 0.01),
    )
    outcomes = closed_loop(pool, 16, 400, lambda client: "m")
    share = Counter(outcome.router for outcome in outcomes)
    assert min(share.values()) > 150
    assert worst(outcomes) < 0.5
    clean(pool)


def test_places_are_not_wasted_when_two_routers_compete() -> None:
    pool = Pool(replicas=1, limits=ReplicaLimits(places=4), routers=2, durations=Durations(work_s=lambda m: 0.02))
    outcomes = closed_loop(pool, 16, 400, lambda client: "m")
    span = max(outcome.finished for outcome in outcomes) - 0.15
    assert 400 / span > 0.9 * 4 / 0.02


def test_requests_that_hold_one_model_and_wait_for_another_are_not_all_stuck() -> None:
    """Hold and wait: with both slots held by requests that each wait for a third model, the younger is denied."""
    replica = Replica(slots=(2,), swap_wait_s=0.0)
    replica.load("a")
    replica.load("b")
    replica.offer("r1", "a")
    replica.pass_time(0.1)
    replica.offer("r2", "b")
    replica.ask("a", "r1")
    replica.ask("b", "r2")
    assert of(ev.Deny, replica.ask("c", "r1")[1]) == []
    waiter, effects = replica.ask("d", "r2")
    denied = of(ev.Deny, effects)
    assert [(deny.waiter, deny.failure.code) for deny in denied] == [(waiter, "slot_deadlock")]
    replica.do(ev.Ended("r2"))
    replica.do(ev.Unloaded(ev.Key(0, "b")))
    replica.do(ev.Loaded(ev.Key(0, "c")), after=0.1)
    assert replica.state("c") == "resident"


def test_an_admission_lease_that_user_code_does_not_ask_for_never_blocks_it() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.load("a")
    replica.offer("r", "a")
    waiter, effects = replica.ask("b", "r")
    assert [unload.key.model for unload in of(ev.Unload, effects)] == ["a"]
    replica.do(ev.Unloaded(ev.Key(0, "a")))
    given = of(ev.Give, replica.do(ev.Loaded(ev.Key(0, "b")), after=0.1))
    assert [(give.waiter, give.hit) for give in given] == [(waiter, False)]
    replica.do(ev.Ended("r"))


def starter(pool: Pool, index: int) -> Callable[[], None]:
    return lambda: void(pool.start(index))


def test_a_model_that_kills_its_replica_does_not_kill_the_pool() -> None:
    pool = Pool(replicas=3, limits=ReplicaLimits(slots=(2,)), durations=Durations(load=lambda m: Timing(0.1)))
    outcomes: list[Outcome] = []
    deaths = [0]

    def hunt() -> None:
        for replica in list(pool.replicas.values()):
            entry = replica.residency.state.caches[0].entries.get("poison")
            if entry is not None and entry.state == "loading":
                deaths[0] += 1
                pool.kill(replica.id)
                pool.after(0.5, starter(pool, replica.index))
        if pool.now < 20.0:
            pool.after(0.01, hunt)

    def send() -> None:
        pool.submit("poison", outcomes.append)
        pool.submit("good", outcomes.append)
        if pool.now < 18.0:
            pool.after(0.1, send)

    pool.at(0.05, send)
    pool.at(0.05, hunt)
    pool.run()
    good = [outcome for outcome in outcomes if outcome.model == "good"]
    assert deaths[0] <= 2 + 3
    assert sum(outcome.failure is None for outcome in good) > 0.95 * len(good)
    fast = [outcome for outcome in outcomes if outcome.model == "poison" and outcome.failure is not None]
    assert len(fast) > 100
    assert fast[-1].failure is not None
    assert fast[-1].failure.code == "model_load_failed"


def test_draining_that_outlasts_its_limit_is_taken_back_and_another_model_yields() -> None:
    replica = Replica(slots=(2,), swap_wait_s=0.0, drain_limit_s=5.0)
    replica.load("stream")
    replica.offer("long", "stream")
    replica.pass_time(1.0)
    replica.load("busy")
    replica.offer("old", "busy")
    replica.pass_time(1.0)
    replica.want("c")
    assert replica.state("stream") == "draining"
    replica.pass_time(3.0)
    replica.offer("short", "busy")
    replica.do(ev.Ended("old"))
    replica.pass_time(2.0)
    assert replica.state("stream") == "resident"
    assert replica.state("busy") == "draining"
    assert isinstance(replica.offer("more", "stream"), ev.Admit)
    replica.do(ev.Ended("short"))
    replica.do(ev.Unloaded(ev.Key(0, "busy")))
    assert replica.state("c") == "loading"


def test_draining_is_taken_back_when_the_want_has_gone() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.load("a")
    replica.offer("r", "a")
    replica.pass_time(1.0)
    replica.want("b")
    assert replica.state("a") == "draining"
    replica.do(ev.Unwanted(0, "b"))
    assert replica.state("a") == "resident"


def test_a_flood_of_made_up_ids_leaves_nothing_behind_and_evicts_nobody() -> None:
    missing = Failure("model_not_found", "no such model")
    pool = Pool(
        replicas=2,
        limits=ReplicaLimits(slots=(2,), has_source=True),
        durations=Durations(fetch=lambda m: Timing(0.01, missing if m.startswith("made-up") else None)),
        queue=SchedulerLimits(max_waiting_models=100),
    )
    outcomes: list[Outcome] = []
    pool.at(0.05, lambda: void([pool.submit(f"m{number}", outcomes.append) for number in range(4)]))

    def flood() -> None:
        for number in range(3000):
            pool.submit(f"made-up-{number}", outcomes.append)

    pool.check = False
    pool.at(5.0, flood)
    pool.at(6.0, lambda: void(pool.submit("m0", outcomes.append)))
    pool.run()
    codes = Counter(outcome.failure.code for outcome in outcomes if outcome.failure)
    assert codes.keys() == {"model_not_found", "too_many_models"}
    assert pool.loads == 4
    scheduler = pool.routers[0].scheduler
    assert len(scheduler.models()) == 4
    assert len(scheduler.state.failures) <= 1024
    for replica in pool.replicas.values():
        assert len(replica.residency.state.failures) <= 1024
        assert len(replica.residency.state.history) <= 1024
    clean(pool)


MISSING = Failure("model_not_found", "no such model")


def warm(*models: str, **limits: object) -> Replica:
    """Return a replica whose models were used again and have been warm for long."""
    replica = Replica(slots=(len(models),), places=8, **limits)
    for model in models:
        replica.load(model)
        replica.use(model, times=3, seconds=0.01)
    replica.pass_time(60.0)
    return replica


def settle(replica: Replica, effects: object) -> None:
    """Finish the unloads among ``effects``."""
    for unload in of(ev.Unload, effects):
        replica.do(ev.Unloaded(unload.key))


def loading(replica: Replica) -> list[str]:
    states = [(k.model, status.state) for k, status, _, _ in replica.residency.models()]
    return [model for model, state in states if state == "loading"]


def test_a_flood_of_made_up_ids_without_a_source_takes_one_slot() -> None:
    """Only the loader can tell that a model does not exist, so its load needs a slot; the others' stay warm."""
    replica = warm("w1", "w2", "w3", "w4")
    for number in range(50):
        settle(replica, replica.want(f"made-up-{number}"))
    for _ in range(50):
        (one,) = loading(replica)
        assert len(replica.resident) == 3
        settle(replica, replica.do(ev.LoadFailed(ev.Key(0, one), MISSING), after=0.01))
    assert len(replica.resident) == 3
    assert loading(replica) == []
    settle(replica, replica.want("made-up-again"))
    assert (loading(replica), len(replica.resident)) == (["made-up-again"], 3)


def test_a_model_that_a_flood_displaced_comes_back_before_the_flood_is_over() -> None:
    replica = warm("w1", "w2", "w3")
    for number in range(50):
        settle(replica, replica.want(f"made-up-{number}"))
    (gone,) = {"w1", "w2", "w3"} - set(replica.resident)
    settle(replica, replica.want(gone))
    assert loading(replica) == ["made-up-0", gone]


def test_new_models_that_load_are_trusted_with_more_slots_and_a_failure_ends_that() -> None:
    replica = warm("w1", "w2", "w3", "w4", "w5", "w6")
    for number in range(6):
        settle(replica, replica.want(f"n{number}"))
    seen = []
    for number in range(2):
        seen.append(len(loading(replica)))
        settle(replica, replica.do(ev.Loaded(ev.Key(0, f"n{number}")), after=0.1))
    assert [*seen, len(loading(replica))] == [1, 2, 3]
    failed, *others = loading(replica)
    settle(replica, replica.do(ev.LoadFailed(ev.Key(0, failed), MISSING)))
    assert len(loading(replica)) == 3, "the slot that it leaves is free for the next"
    for model in others:
        replica.do(ev.LoadFailed(ev.Key(0, model), MISSING))
    replica.pass_time(60.0)
    assert replica.residency.state.newcomers.allowed(replica.now) == 1


def test_trust_in_new_models_lapses() -> None:
    replica = warm("w1", "w2", "w3", "w4")
    settle(replica, replica.want("n0"))
    replica.do(ev.Loaded(ev.Key(0, "n0")), after=0.1)
    assert replica.residency.state.newcomers.allowed(replica.now) == 2
    replica.pass_time(10.0)
    assert replica.residency.state.newcomers.allowed(replica.now) == 1


def test_new_models_use_free_slots_all_at_once() -> None:
    replica = Replica(slots=(4,))
    for number in range(4):
        replica.want(f"n{number}")
    assert len(loading(replica)) == 4


def test_what_never_loaded_is_not_remembered() -> None:
    replica = Replica(slots=(1,))
    replica.load("real")
    for number in range(2000):
        settle(replica, replica.want(f"made-up-{number}"))
        replica.do(ev.LoadFailed(ev.Key(0, f"made-up-{number}"), MISSING))
    assert len(replica.residency.state.history) == 1
    settle(replica, replica.want("real"))
    assert not replica.residency.state.new(ev.Key(0, "real"))


@pytest.mark.parametrize("permits", [1, 4])
def test_a_flood_of_made_up_ids_without_a_source_leaves_the_warm_set(permits: int) -> None:
    """Beside warm traffic, and without keeping a new model that does exist from being loaded."""
    pool = Pool(
        replicas=2,
        limits=ReplicaLimits(slots=(4,), max_concurrent_loads=permits, swap_wait_s=0.2),
        durations=Durations(
            load=lambda m: Timing(0.01, MISSING) if m.startswith("made-up") else Timing(0.1),
        ),
    )
    outcomes: list[Outcome] = []
    least: list[int] = []
    rng = random.Random(permits)

    def send(when: float, model: str) -> None:
        pool.at(when, lambda: void(pool.submit(model, outcomes.append)))

    def look() -> None:
        caches = [replica.residency.state.caches[0] for replica in pool.replicas.values()]
        least.append(sum(model.startswith("w") for cache in caches for model in cache.entries))

    for number in range(8):
        for again in range(3):
            send(0.05 + again, f"w{number}")
    for number in range(750):
        send(10.0 + number / 150, f"made-up-{number}")
    for number in range(1000):
        send(10.0 + number / 200, f"w{rng.randrange(8)}")
        pool.at(10.0 + number / 200, look)
    send(12.0, "new")
    pool.run()
    codes = Counter(outcome.failure.code for outcome in outcomes if outcome.failure)
    assert codes == {"model_not_found": 750}
    assert min(least) >= 8 - 2 - 2  # a slot of each replica; the new model's, and one that it earned for the flood
    assert worst([outcome for outcome in outcomes if outcome.model == "new"]) < 1.0
    clean(pool)


def test_a_flood_of_valid_ids_does_not_flush_the_warm_set() -> None:
    """A scan of 200 models that are each used once passes through the cold end."""
    replica = Replica(slots=(4,))
    for model in ("w1", "w2", "w3"):
        replica.load(model)
        replica.use(model, times=2, seconds=0.01)
    for number in range(50):
        scan = f"s{number}"
        effects = replica.want(scan)
        for unload in of(ev.Unload, effects):
            assert unload.key.model.startswith("s")
            replica.do(ev.Unloaded(unload.key))
        replica.do(ev.Loaded(ev.Key(0, scan)), after=0.1)
        replica.do(ev.Released(0, scan))
        replica.use(scan)
    assert {"w1", "w2", "w3"} <= set(replica.resident)


def test_new_favourites_displace_old_ones_that_nobody_asks_for_any_more() -> None:
    """The cold end does not trap a new working set: a model that comes back is remembered as used before."""
    replica = Replica(slots=(3,))
    for model in ("old1", "old2", "old3"):
        replica.load(model)
        replica.use(model, times=5)
    for _ in range(4):
        for model in ("new1", "new2", "new3"):
            if model in replica.resident:
                replica.use(model)
                continue
            for unload in of(ev.Unload, replica.want(model)):
                replica.do(ev.Unloaded(unload.key))
            replica.do(ev.Loaded(ev.Key(0, model)), after=0.1)
            replica.do(ev.Released(0, model))
            replica.use(model)
            replica.pass_time(1.0)
    assert set(replica.resident) == {"new1", "new2", "new3"}


@pytest.mark.parametrize("max_batch", [1, 4])
def test_batches_are_not_torn_apart(max_batch: int) -> None:
    """With two models queued alternately, places that come free go on with one model up to a full batch."""
    router = Router()
    router.up("r", held=("a", "b"), places=4, max_batch=max_batch)
    running = [router.arrive("a")[0] for _ in range(4)]
    for _ in range(8):
        router.arrive("a")
        router.arrive("b")
    served = [
        dispatch.model for request in running for dispatch in of(ev.Dispatch, router.do(ev.RequestFinished(request)))
    ]
    assert served == (["a"] * 4 if max_batch == 4 else ["a", "b", "a", "b"])


def test_fifty_first_requests_for_one_model_make_one_load_with_two_routers() -> None:
    pool = Pool(replicas=4, limits=ReplicaLimits(slots=(2,)), routers=2)
    outcomes: list[Outcome] = []

    def burst() -> None:
        for number in range(50):
            pool.submit("m", outcomes.append, router=number % 2)

    pool.at(0.05, burst)
    pool.run(0.15)
    assert pool.loads == 1
    pool.run()
    assert len(outcomes) == 50
    clean(pool)


@pytest.mark.parametrize("routers", [2, 3])
def test_routers_that_hear_late_of_each_other_load_a_hot_model_at_most_once_each(routers: int) -> None:
    """Beyond as many loads as copies, each further router may have begun one that it had not heard of."""
    rng = random.Random(routers)
    pool = Pool(
        replicas=6,
        limits=ReplicaLimits(slots=(2,), places=4, swap_wait_s=0.2),
        routers=routers,
        durations=Durations(
            work_s=lambda m: 0.02, load=lambda m: Timing(0.2), delay_s=lambda: rng.choice([0.0002, 0.05, 0.1])
        ),
    )
    outcomes = closed_loop(pool, 40, 800, lambda client: "hot" if rng.random() < 0.7 else f"m{rng.randrange(6)}")
    assert pool.single_flight
    assert len(outcomes) == 800
    clean(pool)


def zipf(models: int, seed: int) -> Callable[[int], str]:
    weights = list(accumulate(1 / (rank + 1) for rank in range(models)))
    rng = random.Random(seed)
    names = [f"m{rank}" for rank in range(models)]
    return lambda client: rng.choices(names, cum_weights=weights)[0]


@pytest.mark.parametrize("policy", ["lru", "lfu", "gdsf"])
def test_a_replica_death_under_load_fails_nobody_whose_request_may_be_sent_again(policy: str) -> None:
    pool = Pool(replicas=3, limits=ReplicaLimits(slots=(3,), eviction=policy))
    pool.at(1.0, lambda: pool.kill("r1.2"))
    pool.at(2.0, lambda: void(pool.start(1)))
    outcomes = closed_loop(pool, 12, 600, zipf(24, 7))
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []
    assert {outcome.replica for outcome in outcomes} == {"r0.1", "r1.2", "r2.3", "r1.4"}
    clean(pool)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("slots", [1, 2])
def test_nobody_waits_longer_than_the_bound(slots: int, seed: int) -> None:
    """A cold model is resident within ceil((D + 1) / R) x (W + max(M, T) + U + L), D older cold wants before it."""
    replicas, models, load_s, swap_s = 2, 9, 0.1, 0.2
    pool = Pool(
        replicas=replicas,
        limits=ReplicaLimits(slots=(slots,), swap_wait_s=swap_s, places=3),
        durations=Durations(load=lambda m: Timing(load_s)),
    )
    rng = random.Random(seed)
    outcomes = closed_loop(pool, 24, 500, lambda client: "hot" if rng.random() < 0.5 else f"m{rng.randrange(models)}")
    rounds = -(-(models + 1) // replicas)
    turn = swap_s + max(0.5 * load_s, 0.1) + load_s
    assert worst(outcomes) < rounds * turn + 0.2
    clean(pool)


def test_when_every_slot_is_held_for_long_cold_requests_are_told_so() -> None:
    pool = Pool(
        replicas=1,
        limits=ReplicaLimits(slots=(1,), drain_limit_s=2.0),
        queue=SchedulerLimits(drain_limit_s=2.0),
        durations=Durations(work_s=lambda m: 60.0 if m == "stream" else 0.005),
    )
    outcomes: list[Outcome] = []
    pool.at(0.05, lambda: void(pool.submit("stream", outcomes.append)))
    pool.at(1.0, lambda: void(pool.submit("cold", outcomes.append)))
    pool.at(30.0, lambda: void(pool.submit("later", outcomes.append)))
    pool.run()
    cold, later = outcomes[0], outcomes[1]
    assert cold.failure is not None
    assert later.failure is not None
    assert (cold.failure.code, later.failure.code) == ("slots_busy", "slots_busy")
    assert cold.seconds < 2.5
    assert later.seconds == 0.0
    clean(pool)


def test_a_hot_model_gets_a_copy_and_a_cold_pool_sheds_it_again() -> None:
    pool = Pool(
        replicas=2,
        limits=ReplicaLimits(slots=(1,), places=4, swap_wait_s=0.2),
        durations=Durations(work_s=lambda m: 0.05, load=lambda m: Timing(0.2)),
    )
    outcomes = closed_loop(pool, 32, 600, lambda client: "hot")
    span = max(outcome.finished for outcome in outcomes) - 0.05
    assert pool.loads == 2
    assert 600 / span > 0.85 * 160
    more = closed_loop(pool, 1, 5, lambda client: "other")
    assert pool.loads == 3
    assert worst(more) < 1.0
    clean(pool)
