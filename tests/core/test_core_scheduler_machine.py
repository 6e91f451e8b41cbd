"""One router before replicas that may say anything a replica can say, in any order that one link allows."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from runtime.core import events as ev
from runtime.core.events import Failure, ModelStatus, Summary
from runtime.simulate.invariants import leftover
from tests.core.fakes import BROKEN, Router

MODELS = st.sampled_from(["a", "b", "c", "d"])
SLOTS = 2


class Peer:
    """A replica as its link shows it: what it was asked for and has not answered."""

    def __init__(self, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.wants: dict[str, str] = {}  # model → wanted, fetching or loading
        self.resident: dict[str, None] = {}
        self.running: dict[int, None] = {}
        self.owes = False
        self.draining = False
        self.suspect = False
        self.unread: list[ev.SchedulerEffect] = []  # what was said to it while it was silent


class SchedulerMachine(RuleBasedStateMachine):
    """Replicas come, answer wants and requests, publish and die as the machine says."""

    @initialize(
        routers=st.integers(1, 2),
        caches=st.sampled_from([1, 1, 1, 0, 2]),
        max_batch=st.sampled_from([1, 3]),
        limits=st.fixed_dictionaries(
            {
                "max_queued_requests": st.sampled_from([-1, 4]),
                "max_waiting_models": st.sampled_from([2, 100]),
                "dispatch_failed": st.booleans(),
                "drain_limit_s": st.just(5.0),
            }
        ),
    )
    def start(self, routers: int, caches: int, max_batch: int, limits: dict[str, object]) -> None:
        self.router = Router(routers=routers, **limits)
        self.caches = caches
        self.max_batch = max_batch
        self.peers: dict[str, Peer] = {}
        self.open: dict[int, None] = {}
        self.models: dict[int, str] = {}
        self.born = 0

    def do(self, event: ev.SchedulerEvent) -> None:
        seen = len(self.router.log)
        self.router.do(event)
        self.note(seen)

    def note(self, seen: int) -> None:
        for effect in self.router.log[seen:]:
            if isinstance(effect, ev.Fail):
                self.open.pop(effect.request, None)
                continue
            peer = self.peers[effect.replica]
            if isinstance(effect, (ev.Dispatch, ev.Want)):
                assert not peer.suspect
            if isinstance(effect, ev.Dispatch):
                assert not peer.owes
                assert not peer.draining
                peer.running[effect.request] = None
            elif peer.suspect or peer.unread:
                peer.unread.append(effect)
            else:
                self.hear(peer, effect)

    def hear(self, peer: Peer, effect: ev.SchedulerEffect) -> None:
        """A replica takes a word of the router."""
        if isinstance(effect, ev.Want):
            if effect.model not in peer.resident:
                peer.wants.setdefault(effect.model, "wanted")
        elif isinstance(effect, ev.Unwant):
            if peer.wants.get(effect.model) in ("wanted", "fetching"):
                del peer.wants[effect.model]
                self.do(ev.WantWithdrawn(peer.id, effect.model))
        elif isinstance(effect, ev.Release):
            peer.wants.pop(effect.model, None)

    def read(self, peer: Peer) -> None:
        """A replica that was silent takes what was said to it meanwhile."""
        while peer.unread:
            effect = peer.unread[0]
            self.hear(peer, effect)
            del peer.unread[0]

    def peer(self, data: st.DataObject) -> Peer:
        return self.peers[data.draw(st.sampled_from(sorted(self.peers)))]

    @rule(index=st.integers(0, 2), held=st.lists(MODELS, max_size=SLOTS, unique=True), places=st.integers(1, 3))
    def up(self, index: int, held: list[str], places: int) -> None:
        self.born += 1
        peer = Peer(f"r{index}.{self.born}", index)
        self.peers[peer.id] = peer
        peer.resident = dict.fromkeys(held)
        models = tuple(ModelStatus(model, "resident", 0.1) for model in held)
        summary = Summary(free_slots=SLOTS - len(held), evictable=len(held))
        self.do(
            ev.ReplicaUp(peer.id, index, places, SLOTS, self.caches, self.max_batch, models=models, summary=summary)
        )

    @rule(model=st.one_of(st.none(), MODELS), replayable=st.booleans())
    def arrive(self, model: str | None, replayable: bool) -> None:
        seen = len(self.router.log)
        request, _ = self.router.arrive(model, replayable=replayable)
        self.open[request] = None
        self.models[request] = model or ""
        self.note(seen)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.open)))
        del self.open[request]
        self.do(ev.RequestCancelled(request))

    @precondition(lambda self: any(peer.running for peer in self.peers.values()))
    @rule(data=st.data(), answer=st.sampled_from(["end", "end", "began", "absent", "full", "draining", "failed"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        peer = self.peers[data.draw(st.sampled_from(sorted(id for id, one in self.peers.items() if one.running)))]
        request = data.draw(st.sampled_from(list(peer.running)))
        if answer == "began":
            self.do(ev.RequestBegan(request))
            return
        del peer.running[request]
        if answer == "end":
            self.open.pop(request, None)
            self.do(ev.RequestFinished(request))
            return
        model = self.models[request]
        if answer in ("absent", "failed") and model in peer.resident:
            del peer.resident[model]
            self.do(ev.ModelChanged(peer.id, ModelStatus(model, "draining")))
        peer.owes = peer.owes or answer == "full"
        peer.draining = peer.draining or answer == "draining"
        failure = BROKEN if answer == "failed" else None
        self.do(ev.RequestRefused(request, answer, failure))  # type: ignore[arg-type]

    @precondition(lambda self: any(peer.owes for peer in self.peers.values()))
    @rule()
    def pay(self) -> None:
        peer = next(peer for peer in self.peers.values() if peer.owes)
        peer.owes = False
        self.do(ev.PlaceOffered(peer.id))

    @precondition(lambda self: any(peer.wants for peer in self.peers.values()))
    @rule(data=st.data(), failure=st.sampled_from([None, None, BROKEN, Failure("model_not_found", "no", 2.0)]))
    def progress(self, data: st.DataObject, failure: Failure | None) -> None:
        """A want gets on: fetching, loading, then resident or failed."""
        peer = self.peers[data.draw(st.sampled_from(sorted(id for id, one in self.peers.items() if one.wants)))]
        model = data.draw(st.sampled_from(list(peer.wants)))
        stage = peer.wants[model]
        if stage == "loading":
            del peer.wants[model]
            if failure is None:
                peer.resident[model] = None
                self.do(ev.ModelChanged(peer.id, ModelStatus(model, "resident", 0.1)))
            else:
                self.do(ev.ModelChanged(peer.id, ModelStatus(model, "failed", failure=failure)))
            return
        peer.wants[model] = "fetching" if stage == "wanted" else "loading"
        self.do(ev.ModelChanged(peer.id, ModelStatus(model, "fetching" if stage == "wanted" else "loading")))

    @precondition(lambda self: any(peer.resident for peer in self.peers.values()))
    @rule(data=st.data(), state=st.sampled_from(["draining", "unloading", "absent", "abandoned"]))
    def go(self, data: st.DataObject, state: ev.ModelState) -> None:
        peer = self.peers[data.draw(st.sampled_from(sorted(id for id, one in self.peers.items() if one.resident)))]
        model = data.draw(st.sampled_from(list(peer.resident)))
        del peer.resident[model]
        self.do(ev.ModelChanged(peer.id, ModelStatus(model, state)))

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), numbers=st.tuples(*[st.integers(0, 3)] * 6))
    def summarise(self, data: st.DataObject, numbers: tuple[int, ...]) -> None:
        self.do(ev.SummaryChanged(self.peer(data).id, Summary(*numbers)))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        peer = self.peer(data)
        peer.draining = True
        self.do(ev.ReplicaDraining(peer.id))

    @precondition(lambda self: any(not (peer.suspect or peer.draining) for peer in self.peers.values()))
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        able = sorted(id for id, one in self.peers.items() if not (one.suspect or one.draining))
        peer = self.peers[data.draw(st.sampled_from(able))]
        peer.suspect = True
        self.do(ev.ReplicaSuspected(peer.id))

    @precondition(lambda self: any(peer.suspect for peer in self.peers.values()))
    @rule(data=st.data(), reads_first=st.booleans())
    def speak(self, data: st.DataObject, reads_first: bool) -> None:
        peer = self.peers[data.draw(st.sampled_from(sorted(id for id, one in self.peers.items() if one.suspect)))]
        if reads_first:
            self.read(peer)
        peer.suspect = False
        self.do(ev.ReplicaTrusted(peer.id, tuple(ModelStatus(model, "resident", 0.1) for model in peer.resident)))
        self.read(peer)

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def down(self, data: st.DataObject) -> None:
        peer = self.peer(data)
        del self.peers[peer.id]
        self.do(ev.ReplicaDown(peer.id))

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 8.0]))
    def wait(self, seconds: float) -> None:
        seen = len(self.router.log)
        self.router.pass_time(seconds)
        self.note(seen)

    def teardown(self) -> None:
        """Every client leaves and every replica answers: nothing may remain."""
        if not hasattr(self, "router"):
            return
        for request in list(self.open):
            self.do(ev.RequestCancelled(request))
        for peer in list(self.peers.values()):
            for request in list(peer.running):
                self.do(ev.RequestFinished(request))
        for peer in list(self.peers.values()):
            self.read(peer)
            for model in [model for model, stage in peer.wants.items() if stage == "loading"]:
                self.do(ev.ModelChanged(peer.id, ModelStatus(model, "resident", 0.1)))
        assert leftover(self.router.scheduler) == []


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
