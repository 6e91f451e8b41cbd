"""What must hold at a router after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.core import events as ev
from runtime.core.events import Request, SchedulerEffect, SchedulerEvent
from runtime.core.pool import LEVELS, Pool, ReplicaView
from runtime.core.scheduler import Scheduler
from runtime.simulate.rule import require


def check_scheduler(scheduler: Scheduler) -> None:
    """Check a router's masks and books against its replicas and queues, and work conservation."""
    pool = scheduler.state.pool
    in_flight = Counter(request.view.id for request in scheduler.state.requests.values() if request.view is not None)
    for view in pool.by_id.values():
        require(view.in_flight == in_flight[view.id], "requests in flight are counted", view)
        _check_view(pool, view)
    queued = sum(request.view is None for request in scheduler.state.requests.values())
    require(queued == scheduler.state.queued, "queued requests are counted", scheduler)
    known = 0
    for view in pool.by_id.values():
        known |= view.bit
    bids: Counter[str] = Counter()
    for model in scheduler.models():
        demand = model.demand
        require(bool(model.holders or model.loading or demand), "no record without a reason", model)
        require((model.holders | model.loading) & ~known == 0, "only known replicas hold models", model)
        if demand is None:
            continue
        require(not demand.idle, "no demand without a reason", model)
        require(demand.claims & ~model.holders == 0, "claims are on holders", model)
        bids.update(bid.view.id for bid in (demand.cold, demand.copy, *demand.stranded) if bid is not None)
        if len(demand.queue):
            require(model.holders & pool.room == 0, "nothing queues beside a free place", model)
            sought = demand.cold or demand.copy or demand.stranded
            under_way = bool(model.holders or model.loading or sought or not pool.up)
            require(under_way, "something is under way for whoever waits", model)
    for view in pool.by_id.values():
        require(view.bids == bids[view.id], "wants are counted", view)


def _check_view(pool: Pool, view: ReplicaView) -> None:
    bit = view.bit
    free = not (view.draining or view.owed) and view.in_flight < view.places
    require(bool(pool.up & bit) == (not view.draining), "up is known", view)
    require(bool(pool.room & bit) == free, "room is known", view)
    require(view.draining or not pool.suspect & bit, "a suspect gets nothing new", view)
    require(bool(pool.blocked & bit) == view.blocked, "blocked is known", view)
    require(view.level <= LEVELS, "the level is in range", view)
    for number, mask in enumerate(pool.levels):
        require(bool(mask & bit) == (number == view.level), "the level is known", view)
    require(bool(pool.low & bit) == (view.level < LEVELS // 2), "half load is known", view)
    for model in view.models.values():
        require(bool(model.holders & bit), "residents are known", (view, model))


class SchedulerWatch:
    """Follows one router: every request ends exactly once, and is dispatched again only for a reason."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._open: dict[int, str] = {}  # request → the replica it is at, "" in a queue
        self._deaths: Counter[int] = Counter()
        self.dispatches = 0
        self.ended = 0

    def step(self, event: SchedulerEvent, effects: Iterable[SchedulerEffect], now: float) -> None:
        """Check one event, its effects and the state they lead to."""
        if isinstance(event, ev.RequestArrived):
            self._open[event.request] = ""
        elif isinstance(event, ev.RequestRefused):
            if event.request in self._open:
                self._open[event.request] = ""
        elif isinstance(event, (ev.RequestFinished, ev.RequestCancelled)):
            self._end(event)
        elif isinstance(event, (ev.ReplicaDown, ev.ReplicaUp)):
            self._lose(event.replica)
        for effect in effects:
            self.see(effect)
        check_scheduler(self.scheduler)

    def _end(self, event: ev.RequestFinished | ev.RequestCancelled) -> None:
        if isinstance(event, ev.RequestFinished) or not self._open.get(event.request):
            self.ended += self._open.pop(event.request, None) is not None

    def _lose(self, replica: str) -> None:
        for request, where in self._open.items():
            if where == replica:
                self._open[request] = ""
                self._deaths[request] += 1

    def see(self, effect: SchedulerEffect) -> None:
        """Check one effect against what its request went through."""
        if isinstance(effect, ev.Dispatch):
            require(self._open.get(effect.request) == "", "a request runs once at a time", effect)
            require(self._deaths[effect.request] <= 1, "a request survives one death", effect)
            self._open[effect.request] = effect.replica
            self.dispatches += 1
        elif isinstance(effect, ev.Fail):
            require(self._open.pop(effect.request, None) is not None, "a request fails once", effect)
            self.ended += 1

    @property
    def open(self) -> list[Request]:
        """Requests that have not ended."""
        return list(self._open)


def leftover(scheduler: Scheduler) -> list[str]:
    """Return what is left over at a router without requests, beyond the models that replicas hold."""
    left = {
        "requests": len(scheduler.state.requests),
        "queued": scheduler.state.queued,
        "demands": sum(model.demand is not None for model in scheduler.models()),
        "unheld": sum(not (model.holders or model.loading) for model in scheduler.models()),
        "in flight": sum(view.in_flight for view in scheduler.state.pool.by_id.values()),
    }
    return [f"{name}: {count}" for name, count in left.items() if count]
