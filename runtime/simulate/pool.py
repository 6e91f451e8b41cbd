"""A pool of replicas and routers in virtual time: the very state machines of production, with messages between.

Deterministic: one heap of moments, messages in order per link and direction, every duration from a callable that
the caller seeds. With ``check`` the invariants are checked after every single event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from runtime.core import events as ev
from runtime.core.events import (
    Failure,
    Key,
    ReplicaLimits,
    ResidencyEffect,
    ResidencyEvent,
    SchedulerEffect,
    SchedulerEvent,
    SchedulerLimits,
)
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.simulate.invariants import ResidencyWatch, SchedulerWatch, check_single_flight

Done = Callable[["Outcome"], None]


@dataclass(slots=True)
class Timing:
    """What becomes of one load or fetch: it takes ``seconds``, then fails if ``failure`` is set."""

    seconds: float
    failure: Failure | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """One request's fate."""

    request: int
    model: str | None
    router: int
    arrived: float
    finished: float = 0.0
    began: float | None = None  # when user code started
    replica: str = ""
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        return self.finished - self.arrived


@dataclass(slots=True)
class Durations:
    """How long things take in virtual time."""

    work_s: Callable[[str | None], float] = field(default=lambda model: 0.005)
    load: Callable[[str], Timing] = field(default=lambda model: Timing(0.1))
    fetch: Callable[[str], Timing] = field(default=lambda model: Timing(0.0))
    unload_s: Callable[[str], float] = field(default=lambda model: 0.0)
    delay_s: Callable[[], float] = field(default=lambda: 0.0002)


class Pool:
    """N replicas, R routers, the links between them, and one clock."""

    def __init__(
        self,
        *,
        replicas: int,
        limits: ReplicaLimits,
        queue: SchedulerLimits | None = None,
        routers: int = 1,
        durations: Durations | None = None,
        check: bool = True,
    ) -> None:
        self.limits = limits
        self.durations = durations or Durations()
        self.check = check
        self.now = 0.0
        self.single_flight = routers == 1  # checked; operators and several routers may load a model twice
        self.loads = 0
        self.evictions = 0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.routers = [
            _Router(
                self, number, Scheduler("sim", queue or SchedulerLimits(), router=f"router-{number}", routers=routers)
            )
            for number in range(routers)
        ]
        self.replicas: dict[str, _Replica] = {}
        self._born = 0
        for index in range(replicas):
            self.start(index)

    # --- time -------------------------------------------------------------------------------------------

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Have ``do`` called at ``when``; what is due at one moment goes in the order it was asked for."""
        self._count += 1
        heappush(self._heap, (max(when, self.now), self._count, do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + seconds, do)

    def run(self, until: float | None = None) -> None:
        """Let time pass until nothing is left to happen, or until ``until``."""
        while self._heap and (until is None or self._heap[0][0] <= until):
            when, _, do = heappop(self._heap)
            self.now = when
            do()
        if until is not None:
            self.now = max(self.now, until)

    # --- what happens to it -----------------------------------------------------------------------------

    def start(self, index: int) -> str:
        """Start a replica; it connects to every router. Returns its id."""
        self._born += 1
        replica = _Replica(self, f"r{index}.{self._born}", index)
        self.replicas[replica.id] = replica
        for router in self.routers:
            replica.connect(router)
        return replica.id

    def kill(self, replica: str) -> None:
        """End a replica without a word; the routers notice by the link."""
        self.replicas.pop(replica).die()

    def submit(self, model: str | None, done: Done, *, router: int = 0, safe: bool = True) -> int:
        """Send a request; ``done`` is called with its outcome. ``safe``: it may be tried again after a death."""
        return self.routers[router].submit(model, done, safe=safe)

    def cancel(self, request: int, *, router: int = 0) -> None:
        """Have the client of a request leave."""
        self.routers[router].cancel(request)

    def checked(self) -> None:
        """Check what holds for the pool as a whole."""
        if self.check and self.single_flight:
            up = self.routers[0].scheduler.state.pool.by_id
            check_single_flight(
                replica.residency for id, replica in self.replicas.items() if id in up and not up[id].draining
            )


class _Wire:
    """One direction of a link: messages arrive in order, each after a delay; none after it is cut."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._last = 0.0
        self.cut = False

    def send(self, deliver: Callable[[], None]) -> None:
        self._last = max(self._last, self._pool.now + self._pool.durations.delay_s())
        self._pool.at(self._last, lambda: None if self.cut else deliver())


class _Link:
    """The two wires between a router and a replica; ``number`` is its id at the replica."""

    def __init__(self, pool: Pool, router: _Router, replica: _Replica) -> None:
        self.number = router.number
        self.router = router
        self.replica = replica
        self.down = _Wire(pool)
        self.up = _Wire(pool)


class _Waker:
    """Wakes one state machine at the deadline that it names."""

    def __init__(self, pool: Pool, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._at: float | None = None

    def set(self, when: float | None) -> None:
        if when is None or (self._at is not None and self._at <= when and self._at > self._pool.now):
            return
        self._at = when
        self._pool.at(when, lambda: self._ring(when))

    def _ring(self, when: float) -> None:
        if self._at == when:
            self._at = None
            self._wake()


class _Router:
    """The shell round one scheduler."""

    def __init__(self, pool: Pool, number: int, scheduler: Scheduler) -> None:
        self.number = number
        self.scheduler = scheduler
        self.watch = SchedulerWatch(scheduler)
        self.links: dict[str, _Link] = {}
        self._pool = pool
        self._requests: dict[int, tuple[Outcome, Done, bool]] = {}
        self._count = 0
        self._waker = _Waker(pool, lambda: self.hear(ev.Woken()))

    def submit(self, model: str | None, done: Done, *, safe: bool) -> int:
        self._count += 1
        outcome = Outcome(self._count, model, self.number, self._pool.now)
        self._requests[self._count] = (outcome, done, safe)
        self.hear(ev.RequestArrived(self._count, model))
        return outcome.request

    def cancel(self, request: int) -> None:
        if request in self._requests:
            outcome, done, _ = self._requests.pop(request)
            self.hear(ev.RequestCancelled(request))
            outcome.failure = Failure("client_gone", "")
            self._over(outcome, done)

    def hear(self, event: SchedulerEvent) -> None:
        """Give the scheduler an event and perform what it answers."""
        pool = self._pool
        pool.events += 1
        effects = self.scheduler.handle(event, pool.now)
        if pool.check:
            self.watch.step(event, effects, pool.now)
        for effect in effects:
            self._perform(effect)
        self._waker.set(self.scheduler.deadline())
        pool.checked()

    def _perform(self, effect: SchedulerEffect) -> None:
        if isinstance(effect, ev.Fail):
            if effect.request in self._requests:
                outcome, done, _ = self._requests.pop(effect.request)
                outcome.failure = effect.failure
                self._over(outcome, done)
            return
        link = self.links[effect.replica]
        event = self._message(effect, link.number)
        if isinstance(effect, ev.Dispatch):
            known = self._requests.get(effect.request)
            if known is not None and not known[2]:
                self._pool.at(self._pool.now, lambda: self.hear(ev.RequestBegan(effect.request)))
        link.down.send(lambda: link.replica.hear(event))

    @staticmethod
    def _message(effect: SchedulerEffect, link: int) -> ResidencyEvent:
        if isinstance(effect, ev.Dispatch):
            return ev.Offered(link, (link, effect.request), effect.model)
        if isinstance(effect, ev.Want):
            return ev.Wanted(link, effect.model, effect.kind, effect.age_s, effect.waiting, effect.spare)
        if isinstance(effect, ev.Unwant):
            return ev.Unwanted(link, effect.model)
        if isinstance(effect, ev.Release):
            return ev.Released(link, effect.model)
        assert isinstance(effect, ev.PassPlace)
        return ev.PlacePassed(link)

    def finished(self, request: int, began: float, replica: str) -> None:
        """Take the answer of a replica."""
        self.hear(ev.RequestFinished(request))
        if request in self._requests:
            outcome, done, _ = self._requests.pop(request)
            outcome.began = began
            outcome.replica = replica
            self._over(outcome, done)

    def _over(self, outcome: Outcome, done: Done) -> None:
        outcome.finished = self._pool.now
        done(outcome)


class _Replica:
    """The shell round one residency."""

    def __init__(self, pool: Pool, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.residency = Residency(pool.limits)
        self.watch = ResidencyWatch(self.residency)
        self.links: dict[int, _Link] = {}
        self.dead = False
        self._pool = pool
        self._began: dict[object, float] = {}
        self._waker = _Waker(pool, lambda: self.hear(ev.Woken()))

    def connect(self, router: _Router) -> None:
        link = _Link(self._pool, router, self)
        self.links[link.number] = link
        router.links[self.id] = link
        models, summary = self.residency.snapshot(self._pool.now)
        limits = self._pool.limits
        up = ev.ReplicaUp(
            self.id, self.index, limits.places, limits.slots[0] if limits.slots else 0, len(limits.slots),
            limits.max_batch, limits.max_concurrent_loads, models, summary,
        )  # fmt: skip
        link.up.send(lambda: router.hear(up))
        self.hear(ev.LinkUp(link.number))

    def die(self) -> None:
        self.dead = True
        for link in self.links.values():
            link.up.cut = link.down.cut = True
            self._pool.after(0.0, self._down(link))

    def _down(self, link: _Link) -> Callable[[], None]:
        def tell() -> None:
            link.router.hear(ev.ReplicaDown(self.id))
            del link.router.links[self.id]

        return tell

    def hear(self, event: ResidencyEvent) -> None:
        """Give the residency an event and perform what it answers."""
        if self.dead:
            return
        pool = self._pool
        pool.events += 1
        effects = self.residency.handle(event, pool.now)
        if pool.check:
            self.watch.step(event, effects, pool.now)
        for effect in effects:
            self._perform(effect)
        self._waker.set(self.residency.deadline())
        pool.checked()

    def _perform(self, effect: ResidencyEffect) -> None:
        pool = self._pool
        if isinstance(effect, ev.Admit):
            self._began[effect.request] = pool.now
            pool.after(pool.durations.work_s(effect.model), self._end(effect.request))
        elif isinstance(effect, ev.Refuse):
            self._tell(effect.link, ev.RequestRefused(_number(effect.request), effect.why, effect.failure))
        elif isinstance(effect, ev.OfferPlace):
            self._tell(effect.link, ev.PlaceOffered(self.id))
        elif isinstance(effect, ev.Withdrawn):
            self._tell(effect.link, ev.WantWithdrawn(self.id, effect.model))
        elif isinstance(effect, ev.Publish):
            for number in self.links:
                self._tell(number, ev.ModelChanged(self.id, effect.status))
        elif isinstance(effect, ev.Summarise):
            for number in self.links:
                self._tell(number, ev.SummaryChanged(self.id, effect.summary))
        elif isinstance(effect, ev.Fault):
            pool.at(pool.now, lambda: pool.kill(self.id) if not self.dead else None)
        else:
            self._work(effect)

    def _work(self, effect: ResidencyEffect) -> None:
        """Fetch, load or unload."""
        pool = self._pool
        if isinstance(effect, ev.Fetch):
            fetch = pool.durations.fetch(effect.key.model)
            pool.after(fetch.seconds, lambda: self.hear(self._fetched(effect.key, fetch)))
        elif isinstance(effect, ev.Load):
            pool.loads += 1
            load = pool.durations.load(effect.key.model)
            pool.after(load.seconds, lambda: self.hear(self._loaded(effect.key, load)))
        elif isinstance(effect, ev.Unload):
            pool.evictions += effect.why == "evicted"
            seconds = pool.durations.unload_s(effect.key.model)
            pool.after(seconds, lambda: self.hear(ev.Unloaded(effect.key)))

    @staticmethod
    def _fetched(key: Key, fetch: Timing) -> ResidencyEvent:
        return ev.FetchFailed(key, fetch.failure) if fetch.failure else ev.Fetched(key, fetch.size_bytes)

    @staticmethod
    def _loaded(key: Key, load: Timing) -> ResidencyEvent:
        return ev.LoadFailed(key, load.failure) if load.failure else ev.Loaded(key, load.size_bytes)

    def _end(self, request: object) -> Callable[[], None]:
        def end() -> None:
            if self.dead:
                return
            began = self._began.pop(request)
            number = _number(request)
            link = self.links[_link(request)]
            link.up.send(lambda: link.router.finished(number, began, self.id))
            self.hear(ev.Ended(request))

        return end

    def _tell(self, number: int, event: SchedulerEvent) -> None:
        link = self.links[number]
        link.up.send(lambda: link.router.hear(event))


def _number(request: object) -> int:
    assert isinstance(request, tuple)
    return int(request[1])


def _link(request: object) -> int:
    assert isinstance(request, tuple)
    return int(request[0])
