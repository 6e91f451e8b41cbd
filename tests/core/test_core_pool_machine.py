"""Routers and replicas together, with messages between: any order of requests, deaths and operators' words."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from runtime.core import events as ev
from runtime.core.events import Failure, Key, ReplicaLimits, SchedulerLimits
from runtime.simulate.invariants import leftover, residue
from runtime.simulate.pool import Durations, Outcome, Pool, Timing

MODELS = st.sampled_from(["a", "b", "c", "d", "e", "f"])


class PoolMachine(RuleBasedStateMachine):
    """Durations are drawn from a seed, so that a failing example replays."""

    @initialize(
        seed=st.integers(0, 2**32),
        replicas=st.integers(1, 3),
        routers=st.integers(1, 2),
        slots=st.integers(1, 3),
        places=st.integers(1, 4),
        max_batch=st.sampled_from([1, 3]),
        failed=st.booleans(),
        early=st.sampled_from([True, True, True, False]),
        has_source=st.booleans(),
        bound=st.sampled_from([-1, -1, 3]),
    )
    def start(
        self,
        seed: int,
        replicas: int,
        routers: int,
        slots: int,
        places: int,
        max_batch: int,
        failed: bool,
        early: bool,
        has_source: bool,
        bound: int,
    ) -> None:
        rng = random.Random(seed)
        self.outcomes: list[Outcome] = []
        self.sent: list[tuple[int, int]] = []
        self.deaths = 0
        self.pool = Pool(
            replicas=replicas,
            routers=routers,
            limits=ReplicaLimits(
                slots=(slots,),
                places=places,
                max_batch=max_batch,
                max_concurrent_loads=rng.randint(1, 3),
                swap_wait_s=rng.choice([0.0, 0.3]),
                drain_limit_s=2.0,
                load_early=early,
                admit_failed=failed,
                has_source=has_source,
                eviction=rng.choice(["lru", "lfu", "gdsf"]),
            ),
            queue=SchedulerLimits(
                drain_limit_s=2.0, load_early=early, dispatch_failed=failed, max_queued_requests=bound
            ),
            durations=self._durations(rng),
        )

    def _durations(self, rng: random.Random) -> Durations:
        broken, missing = Failure("model_load_failed", "boom"), Failure("model_not_found", "no")
        return Durations(
            work_s=lambda model: rng.choice([0.001, 0.005, 0.2, 4.0]),
            load=lambda model: Timing(rng.choice([0.01, 0.1, 0.4]), broken if rng.random() < 0.15 else None),
            fetch=lambda model: Timing(rng.choice([0.0, 0.05]), missing if model == "f" else None),
            unload_s=lambda model: rng.choice([0.0, 0.02]),
            delay_s=lambda: rng.choice([0.0002, 0.0002, 0.02]),
        )

    @rule(model=st.one_of(st.none(), MODELS), count=st.integers(1, 6), router=st.integers(0, 1), safe=st.booleans())
    def submit(self, model: str | None, count: int, router: int, safe: bool) -> None:
        number = router % len(self.pool.routers)
        for _ in range(count):
            self.sent.append((number, self.pool.submit(model, self.outcomes.append, router=number, safe=safe)))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number, request = data.draw(st.sampled_from(self.sent))
        self.pool.cancel(request, router=number)

    @precondition(lambda self: self.pool.replicas)
    @rule(data=st.data(), back=st.sampled_from([0.0, 0.5]))
    def kill(self, data: st.DataObject, back: float) -> None:
        replica = data.draw(st.sampled_from(sorted(self.pool.replicas)))
        index = self.pool.replicas[replica].index
        self.pool.kill(replica)
        self.pool.after(back, lambda: _ignore(self.pool.start(index)))

    @precondition(lambda self: self.pool.replicas)
    @rule(data=st.data(), model=MODELS, word=st.sampled_from(["pin", "unpin", "unload", "load"]))
    def operate(self, data: st.DataObject, model: str, word: str) -> None:
        replica = self.pool.replicas[data.draw(st.sampled_from(sorted(self.pool.replicas)))]
        self.pool.single_flight = False
        key = Key(0, model)
        words: dict[str, ev.ResidencyEvent] = {
            "pin": ev.PinChanged(key, True),
            "unpin": ev.PinChanged(key, False),
            "unload": ev.UnloadAsked(key),
            "load": ev.Preload(key),
        }
        replica.hear(words[word])

    @precondition(lambda self: len(self.pool.replicas) > 1)
    @rule()
    def replace(self) -> None:
        """Start a replica's successor beside it, then drain it, as a rolling update does."""
        replica = next(iter(self.pool.replicas.values()))
        self.pool.start(replica.index)
        self.pool.run(self.pool.now + 0.1)
        for router in self.pool.routers:
            router.hear(ev.ReplicaDraining(replica.id))
        replica.hear(ev.Stopping())
        self.pool.after(3.0, lambda: self.pool.kill(replica.id) if replica.id in self.pool.replicas else None)

    @rule(seconds=st.sampled_from([0.0005, 0.01, 0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.pool.run(self.pool.now + seconds)

    def teardown(self) -> None:
        """Let everything end: every request exactly once, and nothing remains of any."""
        if not hasattr(self, "pool"):
            return
        self.pool.run(self.pool.now + 900.0)
        assert len(self.outcomes) == len(self.sent)
        for router in self.pool.routers:
            assert leftover(router.scheduler) == []
        for replica in self.pool.replicas.values():
            assert residue(replica.residency) == [], replica.residency


def _ignore(_: str) -> None:
    """Take a value that nobody needs."""


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
