"""What must hold at a router after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.core import events as ev
from runtime.core.events import Request, SchedulerEffect, SchedulerEvent
from runtime.core.models import Demand, Model
from runtime.core.pool import LEVELS, Pool
from runtime.core.replica_view import ReplicaView
from runtime.core.scheduler import Scheduler
from runtime.simulate.rule import broken, require


def check_scheduler(scheduler: Scheduler) -> None:
    """Check a router's masks and books against its replicas and queues, and work conservation."""
    state = scheduler.state
    pool = state.pool
    in_flight: dict[int, int] = {}
    queued = known = 0
    for request in state.requests.values():
        if request.view is None:
            queued += 1
        else:
            in_flight[request.view.bit] = in_flight.get(request.view.bit, 0) + 1
    if queued != state.queued:
        broken("queued requests are counted", scheduler)
    for view in pool.by_id.values():
        known |= view.bit
        if view.in_flight != in_flight.get(view.bit, 0):
            broken("requests in flight are counted", view)
        _check_view(pool, view)
    if sum([mask.bit_count() for mask in pool.levels]) != len(pool.by_id):
        broken("every replica has one level", pool.levels)
    bids: dict[int, int] = {}
    for model in state.models.values():
        _check_model(model, known)
        if model.demand is not None:
            _check_demand(pool, model, model.demand, bids)
    for view in pool.by_id.values():
        if view.bids != bids.get(view.bit, 0):
            broken("wants are counted", view)


def _check_model(model: Model, known: int) -> None:
    holders = model.holders
    if not (holders or model.loading or model.demand):
        broken("no record without a reason", model)
    if model.noted & ~holders:
        broken("only holders are awaited", model)
    if (holders | model.loading) & ~known:
        broken("only known replicas hold models", model)
    sole = model.sole.bit if model.sole is not None else 0
    if sole != (holders if holders & (holders - 1) == 0 else 0):
        broken("a holder that is the only one is known", model)


def _check_demand(pool: Pool, model: Model, demand: Demand, bids: dict[int, int]) -> None:
    """Check one demand, and count its wants by replica in ``bids``."""
    if demand.idle:
        broken("no demand without a reason", model)
    if demand.claims & ~model.holders:
        broken("claims are on holders", model)
    for bid in (demand.cold, demand.copy, *demand.stranded):
        if bid is not None:
            bids[bid.view.bit] = bids.get(bid.view.bit, 0) + 1
    if not len(demand.queue):
        return
    if model.holders & pool.room:
        broken("nothing queues beside a free place", model)
    if model.holders & ~model.noted:
        broken("whoever holds a model with a queue is awaited", model)
    sought = demand.cold or demand.copy or demand.stranded
    if not (model.holders or model.loading or sought or not pool.up):
        broken("something is under way for whoever waits", model)


def _check_view(pool: Pool, view: ReplicaView) -> None:
    bit = view.bit
    free = not (view.draining or view.owed) and view.in_flight < view.places
    if bool(pool.up & bit) == view.draining:
        broken("up is known", view)
    if bool(pool.room & bit) != free:
        broken("room is known", view)
    if pool.suspect & bit and not view.draining:
        broken("a suspect gets nothing new", view)
    if bool(pool.blocked & bit) != view.blocked:
        broken("blocked is known", view)
    if bool(pool.able & bit) != (view.ready_for > 0):
        broken("who could start a load is known", view)
    if bool(pool.vacant & bit) != (view.summary.in_flight < view.places):
        broken("who has a place is known", view)
    if view.bids + len(view.loading) > view.ready_for and not pool.pressed & bit:
        broken("where a want may wait is known", view)
    if not pool.levels[view.level] & bit:
        broken("the level is known", view)
    if bool(pool.low & bit) != (view.level < LEVELS // 2):
        broken("half load is known", view)
    _check_residents(view)


def _check_residents(view: ReplicaView) -> None:
    bit = view.bit
    for model in view.models.values():
        if not model.holders & bit:
            broken("residents are known", (view, model))
        if bool(model.noted & bit) != (model in view.awaited):
            broken("who is awaited is known", (view, model))
    if len(view.awaited) > len(view.models):
        broken("only residents are awaited", view)


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
