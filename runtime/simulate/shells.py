"""The shells round the state machines in virtual time: they perform effects as production does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core import events as ev
from runtime.core.events import (
    Failure,
    Key,
    ResidencyEffect,
    ResidencyEvent,
    SchedulerEffect,
    SchedulerEvent,
)
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.simulate.fates import Done, Outcome, Timing
from runtime.simulate.invariants import ResidencyWatch, SchedulerWatch
from runtime.simulate.wires import Link, Waker

if TYPE_CHECKING:
    from runtime.simulate.pool import Pool


class Router:
    """The shell round one scheduler."""

    def __init__(self, pool: Pool, number: int, scheduler: Scheduler) -> None:
        self.number = number
        self.scheduler = scheduler
        self.watch = SchedulerWatch(scheduler)
        self.links: dict[str, Link] = {}
        self._pool = pool
        self._requests: dict[int, tuple[Outcome, Done, bool]] = {}
        self._count = 0
        self._waker = Waker(pool, lambda: self.hear(ev.Woken()))

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
        due = self.scheduler.deadline()
        if due is not None:
            self._waker.set(due)
        if pool.check:
            pool.bound.step(self, pool.replicas, pool.now)
            pool.checked()

    def _perform(self, effect: SchedulerEffect) -> None:
        if isinstance(effect, ev.Dispatch):
            link = self.links[effect.replica]
            known = self._requests.get(effect.request)
            if known is not None and not known[2]:
                self._pool.at(self._pool.now, self.hear, ev.RequestBegan(effect.request))
            offered = ev.Offered(link.number, (link.number, effect.request), effect.model)
            link.down.send(link.replica.hear, offered)
        elif isinstance(effect, ev.Fail):
            if effect.request in self._requests:
                outcome, done, _ = self._requests.pop(effect.request)
                outcome.failure = effect.failure
                self._over(outcome, done)
        else:
            link = self.links[effect.replica]
            link.down.send(link.replica.hear, self._message(effect, link.number))

    @staticmethod
    def _message(effect: SchedulerEffect, link: int) -> ResidencyEvent:
        if isinstance(effect, ev.Want):
            return ev.Wanted(link, effect.model, effect.kind, effect.age_s, effect.waiting, effect.spare)
        if isinstance(effect, ev.Unwant):
            return ev.Unwanted(link, effect.model)
        if isinstance(effect, ev.Release):
            return ev.Released(link, effect.model)
        if isinstance(effect, ev.Expect):
            return ev.Expected(link, effect.in_s)
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


class Replica:
    """The shell round one residency."""

    def __init__(self, pool: Pool, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.residency = Residency(pool.limits)
        self.watch = ResidencyWatch(self.residency)
        self.links: dict[int, Link] = {}
        self.dead = False
        self._pool = pool
        self._began: dict[object, float] = {}
        self._waker = Waker(pool, lambda: self.hear(ev.Woken()))

    def connect(self, router: Router) -> None:
        link = Link(self._pool, router, self)
        self.links[link.number] = link
        router.links[self.id] = link
        models, summary = self.residency.snapshot(self._pool.now)
        limits = self._pool.limits
        up = ev.ReplicaUp(
            self.id, self.index, limits.places, limits.slots[0] if limits.slots else 0, len(limits.slots),
            limits.max_batch, limits.max_concurrent_loads, models, summary,
        )  # fmt: skip
        link.up.send(router.hear, up)
        self.hear(ev.LinkUp(link.number))

    def die(self) -> None:
        self.dead = True
        for link in self.links.values():
            link.up.cut = link.down.cut = True
            self._pool.after(0.0, self._down, link)

    def _down(self, link: Link) -> None:
        link.router.hear(ev.ReplicaDown(self.id))
        del link.router.links[self.id]

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
        due = self.residency.deadline()
        if due is not None:
            self._waker.set(due)
        if pool.check:
            pool.checked()

    def _perform(self, effect: ResidencyEffect) -> None:
        pool = self._pool
        if isinstance(effect, ev.Admit):
            self._began[effect.request] = pool.now
            pool.after(pool.durations.work_s(effect.model), self._end, effect.request)
        elif isinstance(effect, ev.Summarise):
            for number in self.links:
                self._tell(number, ev.SummaryChanged(self.id, effect.summary))
        elif isinstance(effect, ev.Publish):
            for number in self.links:
                self._tell(number, ev.ModelChanged(self.id, effect.status))
        elif isinstance(effect, ev.Refuse):
            self._tell(effect.link, ev.RequestRefused(_number(effect.request), effect.why, effect.failure))
        elif isinstance(effect, ev.OfferPlace):
            self._tell(effect.link, ev.PlaceOffered(self.id))
        elif isinstance(effect, ev.Withdrawn):
            self._tell(effect.link, ev.WantWithdrawn(self.id, effect.model))
        elif isinstance(effect, ev.Fault):
            pool.at(pool.now, lambda: pool.kill(self.id) if not self.dead else None)
        else:
            self._work(effect)

    def _work(self, effect: ResidencyEffect) -> None:
        """Fetch, load or unload."""
        pool = self._pool
        if isinstance(effect, ev.Fetch):
            fetch = pool.durations.fetch(effect.key.model)
            pool.after(fetch.seconds, self.hear, self._fetched(effect.key, fetch))
        elif isinstance(effect, ev.Load):
            pool.loads += 1
            load = pool.durations.load(effect.key.model)
            pool.after(load.seconds, self.hear, self._loaded(effect.key, load))
        elif isinstance(effect, ev.Unload):
            pool.evictions += effect.why == "evicted"
            seconds = pool.durations.unload_s(effect.key.model)
            pool.after(seconds, self.hear, ev.Unloaded(effect.key))

    @staticmethod
    def _fetched(key: Key, fetch: Timing) -> ResidencyEvent:
        return ev.FetchFailed(key, fetch.failure) if fetch.failure else ev.Fetched(key, fetch.size_bytes)

    @staticmethod
    def _loaded(key: Key, load: Timing) -> ResidencyEvent:
        return ev.LoadFailed(key, load.failure) if load.failure else ev.Loaded(key, load.size_bytes)

    def _end(self, request: object) -> None:
        if self.dead:
            return
        began = self._began.pop(request)
        link = self.links[_link(request)]
        link.up.send(link.router.finished, _number(request), began, self.id)
        self.hear(ev.Ended(request))

    def _tell(self, number: int, event: SchedulerEvent) -> None:
        link = self.links[number]
        link.up.send(link.router.hear, event)


def _number(request: object) -> int:
    assert isinstance(request, tuple)
    return int(request[1])


def _link(request: object) -> int:
    assert isinstance(request, tuple)
    return int(request[0])
