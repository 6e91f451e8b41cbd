"""What a replica publishes is what it holds, after every event; what routers ask it to give up is given up."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from runtime.core import events as ev
from runtime.core.events import ModelState
from tests.core.fakes import BROKEN, Replica, Router, key, of
from tests.core.test_core_residency_machine import ResidencyMachine


def published(effects: list[ev.ResidencyEffect]) -> list[tuple[str, ModelState]]:
    return [(one.status.model, one.status.state) for one in of(ev.Publish, effects)]


class PublishingMachine(ResidencyMachine):
    """The replica under any order of events; a router that hears it from the beginning is never told too little."""

    @invariant()
    def what_is_published_is_so(self) -> None:
        if not hasattr(self, "replica") or self.caches != 1:
            return  # of several caches, a failure in one is told although another one holds the model
        told = dict(published(self.replica.log))
        held = {status.model: status.state for status in self.replica.residency.snapshot(self.replica.now)[0]}
        for model, state in held.items():
            gone = state in ("abandoned", "unloading")  # a want of it may have failed meanwhile, which was told last
            assert told.get(model) == state or (gone and told.get(model) == "failed"), (model, state)
        for model in told.keys() - held.keys():
            assert told[model] in ("absent", "failed", "fetching"), (model, told[model])


TestPublishing = PublishingMachine.TestCase
TestPublishing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_every_step_of_a_models_life_is_published_at_once() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    assert published(replica.want("a")) == [("a", "loading")]
    assert published(replica.do(ev.Loaded(key("a")), after=0.1)) == [("a", "resident")]
    replica.do(ev.Released(0, "a"))
    replica.offer("r", "a")
    replica.pass_time(1.0)
    assert published(replica.want("b")) == [("a", "draining")]
    assert published(replica.do(ev.Ended("r"))) == [("a", "unloading")]
    assert published(replica.do(ev.Unloaded(key("a")))) == [("a", "absent"), ("b", "loading")]


def test_a_drain_that_is_taken_back_is_published() -> None:
    replica = Replica(slots=(1,), swap_wait_s=0.0)
    replica.load("a")
    replica.offer("r", "a")
    replica.pass_time(1.0)
    replica.want("b")
    assert ("a", "resident") in published(replica.do(ev.Unwanted(0, "b")))


def test_a_load_that_is_given_up_and_one_that_fails_are_published() -> None:
    replica = Replica(slots=(2,), load_timeout_s=3.0)
    replica.want("slow")
    assert published(replica.pass_time(3.0)) == [("slow", "abandoned"), ("slow", "failed")]
    replica.want("bad")
    assert published(replica.do(ev.LoadFailed(key("bad"), BROKEN))) == [("bad", "failed")]
    assert published(replica.do(ev.LoadFailed(key("slow"), BROKEN))) == [("slow", "absent")]


def test_a_want_joins_an_operators_new_try_of_a_model_that_failed() -> None:
    replica = Replica(slots=(1,), has_source=True)
    replica.want("m")
    replica.do(ev.FetchFailed(key("m"), BROKEN))
    replica.do(ev.Wanted(0, "m", "admin", 0.0, 1))
    replica.do(ev.Fetched(key("m")))
    assert published(replica.want("m")) == []
    refusal = replica.offer("r", "m")
    assert isinstance(refusal, ev.Refuse)
    assert refusal.why == "absent"
    waiter, effects = replica.ask("m")
    assert of(ev.Deny, effects) == []
    effects = replica.do(ev.Loaded(key("m")))
    assert published(effects) == [("m", "resident")]
    assert [give.waiter for give in of(ev.Give, effects)] == [waiter]


@pytest.mark.parametrize("spare", ["well used", None])
def test_a_copy_takes_the_place_of_the_model_that_has_another_copy(spare: str | None) -> None:
    """Although ``little used`` is worth less: the pool loses nothing with a model that another replica holds."""
    replica = Replica(slots=(2,))
    for model in ("well used", "little used"):
        replica.load(model)
    replica.use("little used")
    replica.use("well used", times=5)
    replica.pass_time(60.0)
    effects = replica.do(ev.Wanted(0, "copied", "copy", 0.0, 9, spare))
    assert [unload.key.model for unload in of(ev.Unload, effects)] == [spare or "little used"]


def test_a_success_ends_the_growing_delay_of_a_failing_model() -> None:
    replica = Replica(slots=(1,))
    delays: list[float | None] = []
    for fails in (True, True, False, True):
        replica.want("m")
        if not fails:
            replica.do(ev.Loaded(key("m")), after=0.1)
            replica.do(ev.UnloadAsked(key("m")))
            replica.do(ev.Unloaded(key("m")))
            continue
        [told] = of(ev.Publish, replica.do(ev.LoadFailed(key("m"), BROKEN)))
        assert told.status.failure is not None
        delays.append(told.status.failure.retry_after_s)
        replica.pass_time(10.0)
    assert delays == [1.0, 2.0, 1.0]


def test_a_router_forgets_a_failure_when_the_model_becomes_resident_anywhere() -> None:
    router = Router()
    router.up("r")
    router.arrive("m")
    router.fails("r", "m")
    router.publish("r", "m", "resident")
    router.publish("r", "m", "absent")
    _, effects = router.arrive("m")
    assert of(ev.Fail, effects) == []
    assert [want.model for want in of(ev.Want, effects)] == ["m"]
