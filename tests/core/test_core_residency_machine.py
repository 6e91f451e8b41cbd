"""One replica under any order of events: its invariants hold after every single one, and nothing remains at the end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from runtime.core import events as ev
from runtime.core.events import Failure, Key
from runtime.simulate.invariants import residue
from tests.core.fakes import BROKEN, Replica

MODELS = st.sampled_from(["a", "b", "c", "d", "e"])
LINKS = st.integers(0, 2)
CACHES = st.integers(0, 1)


class ResidencyMachine(RuleBasedStateMachine):
    """Routers, user code, loaders and operators act at random; loads and fetches end when the machine says so."""

    @initialize(
        slots=st.sampled_from([(1,), (2,), (3,), (-1,), (1, 2), (2, 2), ()]),
        places=st.integers(1, 3),
        limits=st.fixed_dictionaries(
            {
                "max_bytes": st.sampled_from([None, None, 6]),
                "max_concurrent_loads": st.integers(1, 3),
                "eviction": st.sampled_from(["lru", "lfu", "gdsf"]),
                "swap_wait_s": st.sampled_from([0.0, 0.5]),
                "drain_limit_s": st.sampled_from([1.0, 10.0]),
                "idle_unload_s": st.sampled_from([None, 2.0]),
                "load_timeout_s": st.sampled_from([3.0, 300.0]),
                "unload_timeout_s": st.sampled_from([3.0, 30.0]),
                "load_early": st.sampled_from([True, True, False]),
                "admit_failed": st.booleans(),
                "has_source": st.booleans(),
            }
        ),
    )
    def start(self, slots: tuple[int, ...], places: int, limits: dict[str, object]) -> None:
        self.replica = Replica(slots=slots, places=places, **limits)
        self.caches = len(slots)
        self.fetching: dict[Key, None] = {}
        self.loading: dict[Key, None] = {}
        self.unloading: dict[Key, None] = {}
        self.running: dict[object, int] = {}
        self.asking: dict[int, object] = {}
        self.offers = [0, 0, 0]
        self.count = 0
        self.waiter = 0

    def do(self, event: ev.ResidencyEvent) -> None:
        seen = len(self.replica.log)
        self.replica.do(event)
        self.note(seen)

    def note(self, seen: int) -> None:
        for effect in self.replica.log[seen:]:
            if isinstance(effect, ev.Fetch):
                assert effect.key not in self.fetching
                self.fetching[effect.key] = None
            elif isinstance(effect, ev.Load):
                self.loading[effect.key] = None
            elif isinstance(effect, ev.Unload):
                self.unloading[effect.key] = None
            elif isinstance(effect, (ev.Give, ev.Deny)):
                self.asking.pop(effect.waiter, None)
            elif isinstance(effect, ev.Admit):
                self.running[effect.request] = 0
            elif isinstance(effect, ev.OfferPlace):
                self.offers[effect.link] += 1

    @rule(link=LINKS, model=MODELS, kind=st.sampled_from(["cold", "cold", "copy", "admin"]), age=st.floats(0, 3))
    def want(self, link: int, model: str, kind: ev.WantKind, age: float) -> None:
        self.do(ev.Wanted(link, model, kind, age, 1, "a"))

    @rule(link=LINKS, model=MODELS)
    def unwant(self, link: int, model: str) -> None:
        self.do(ev.Unwanted(link, model))

    @rule(link=LINKS, model=MODELS)
    def release(self, link: int, model: str) -> None:
        self.do(ev.Released(link, model))

    @rule(link=LINKS, model=st.one_of(st.none(), MODELS))
    def offer(self, link: int, model: str | None) -> None:
        self.count += 1
        self.offers[link] = max(0, self.offers[link] - 1)
        self.do(ev.Offered(link, (link, self.count), model))

    @rule(link=LINKS)
    def pass_place(self, link: int) -> None:
        if self.offers[link]:
            self.offers[link] -= 1
        self.do(ev.PlacePassed(link))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.running)))
        del self.running[request]
        self.asking = {waiter: owner for waiter, owner in self.asking.items() if owner != request}
        self.do(ev.Ended(request))  # type: ignore[arg-type]

    @precondition(lambda self: self.caches)
    @rule(data=st.data(), model=MODELS, cache=CACHES, inside=st.booleans())
    def ask(self, data: st.DataObject, model: str, cache: int, inside: bool) -> None:
        request = data.draw(st.sampled_from(list(self.running))) if inside and self.running else None
        self.waiter += 1
        self.asking[self.waiter] = request
        self.do(ev.Asked(self.waiter, request, Key(cache % self.caches, model)))  # type: ignore[arg-type]

    @precondition(lambda self: self.asking)
    @rule(data=st.data())
    def cancel_ask(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(list(self.asking)))
        del self.asking[waiter]
        self.do(ev.AskCancelled(waiter))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), size=st.integers(0, 8), fails=st.booleans())
    def fetched(self, data: st.DataObject, size: int, fails: bool) -> None:
        key = data.draw(st.sampled_from(list(self.fetching)))
        del self.fetching[key]
        missing = Failure("model_not_found", "no")
        self.do(ev.FetchFailed(key, missing) if fails else ev.Fetched(key, size))

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), size=st.integers(0, 8), fails=st.sampled_from([False, False, True]))
    def loaded(self, data: st.DataObject, size: int, fails: bool) -> None:
        key = data.draw(st.sampled_from(list(self.loading)))
        del self.loading[key]
        self.do(ev.LoadFailed(key, BROKEN) if fails else ev.Loaded(key, size))

    @precondition(lambda self: self.unloading)
    @rule(data=st.data())
    def unloaded(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.unloading)))
        del self.unloading[key]
        self.do(ev.Unloaded(key))

    @precondition(lambda self: self.caches)
    @rule(model=MODELS, cache=CACHES, pinned=st.booleans())
    def pin(self, model: str, cache: int, pinned: bool) -> None:
        self.do(ev.PinChanged(Key(cache % self.caches, model), pinned))

    @precondition(lambda self: self.caches)
    @rule(model=MODELS, cache=CACHES)
    def unload(self, model: str, cache: int) -> None:
        self.do(ev.UnloadAsked(Key(cache % self.caches, model)))

    @precondition(lambda self: self.caches)
    @rule(model=MODELS, cache=CACHES)
    def preload(self, model: str, cache: int) -> None:
        self.do(ev.Preload(Key(cache % self.caches, model)))

    @rule(link=LINKS)
    def link_down(self, link: int) -> None:
        self.offers[link] = 0
        self.do(ev.LinkDown(link))
        self.do(ev.LinkUp(link))

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.2, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        seen = len(self.replica.log)
        self.replica.pass_time(seconds)
        self.note(seen)

    def teardown(self) -> None:
        """End everything: nothing may remain, and after a stop nothing may be resident."""
        if not hasattr(self, "replica"):
            return
        for waiter in list(self.asking):
            self.asking.pop(waiter)
            self.do(ev.AskCancelled(waiter))
        self.do(ev.Stopping())
        for _ in range(200):
            busy = False
            for request in list(self.running):
                del self.running[request]
                self.do(ev.Ended(request))  # type: ignore[arg-type]
            for key in list(self.fetching):
                del self.fetching[key]
                self.do(ev.Fetched(key))
                busy = True
            for key in list(self.loading):
                del self.loading[key]
                self.do(ev.Loaded(key))
                busy = True
            for key in list(self.unloading):
                del self.unloading[key]
                self.do(ev.Unloaded(key))
                busy = True
            if not busy:
                break
        for link in range(3):
            self.do(ev.LinkDown(link))
        self.wait(20.0)
        assert residue(self.replica.residency) == []
        assert self.replica.residency.models() == []


TestResidency = ResidencyMachine.TestCase
TestResidency.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
