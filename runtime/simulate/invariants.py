"""The invariants of the brain as executable checks, for property tests and for every step of the simulator.

``check_residency`` and ``check_scheduler`` compare what a state machine keeps with what can be computed anew;
``ResidencyWatch`` and ``SchedulerWatch`` follow events and effects and hold what must be true of the whole history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.core import events as ev
from runtime.core.events import Key, Request, ResidencyEffect, ResidencyEvent, SchedulerEffect, SchedulerEvent
from runtime.core.pool import LEVELS, Pool, ReplicaView
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.core.slots import Cache


class InvariantBroken(AssertionError):
    """A rule of the brain does not hold; the message says which and shows the state."""


def require(holds: bool, rule: str, state: object = "") -> None:
    """Raise ``InvariantBroken`` unless ``holds``."""
    if not holds:
        raise InvariantBroken(f"{rule}: {state}")


# --- replica side ---------------------------------------------------------------------------------------


def check_residency(residency: Residency, now: float, *, lowered: bool = False) -> None:
    """Check capacity, books and work conservation of one replica. ``lowered``: its limits were, so it may be over."""
    state = residency.state
    running = state.leases.running
    for cache in state.caches:
        _check_cache(cache)
        require(lowered or cache.cap < 0 or len(cache.entries) <= cache.cap, "the cap holds", cache)
    entries = [entry for cache in state.caches for entry in cache.entries.values()]
    leases = Counter(id(lease.entry) for one in running.values() for lease in one.leases())
    stuck = Counter(id(lease.entry) for one in running.values() for lease in one.leases() if lease.stuck)
    for entry in entries:
        require(entry.leases == leases[id(entry)], "leases are counted by their requests", entry)
        require(entry.stuck == stuck[id(entry)], "stuck leases are counted", entry)
        busy = entry.leases > 0 and entry.state not in ("resident", "draining")
        require(not busy, "only resident and draining models are leased", entry)
        require(not entry.claims or entry.state in ("resident", "draining"), "claims need residents", entry)
    require(sum(leases.values()) == sum(e.leases for e in entries), "no lease without its model", residency)
    claims = sum(len(entry.claims) for entry in entries)
    require(claims == len(state.claims), "claims are counted", residency)
    require(state.budget.used == sum(entry.size_bytes for entry in entries), "bytes add up", residency)
    pinned = sum(entry.size_bytes for entry in entries if entry.pinned)
    require(state.budget.pinned == pinned, "pinned bytes add up", residency)
    _check_places(residency, lowered)
    _check_wants(residency, now)


def _check_cache(cache: Cache) -> None:
    counted = Counter(entry.state for entry in cache.entries.values())
    require(
        {name: count for name, count in cache.count.items() if count} == dict(counted),
        "states are counted",
        cache,
    )
    idle = {entry.key.model for entry in cache.entries.values() if entry.evictable}
    require(set(cache.idle) == idle, "the idle order holds exactly the evictable models", cache)


def _check_places(residency: Residency, lowered: bool) -> None:
    admission = residency.state.admission
    require(admission.in_flight == len(residency.state.leases.running), "places are counted", admission)
    require(admission.in_flight + admission.promised <= admission.places or lowered, "places are bounded", admission)
    if admission.owing:
        full = admission.in_flight + admission.promised >= admission.places
        require(full, "no place is free while one is owed", admission)


def _check_wants(residency: Residency, now: float) -> None:
    """Check that no want is left unstarted beside a free slot, a permit and bytes."""
    state = residency.state
    for cache, wants in zip(state.caches, state.wants, strict=True):
        for want in wants.by_model.values():
            entry = cache.entries.get(want.key.model)
            loading = entry is not None and entry.state == "loading"
            require(want.loading == loading, "a want is loading exactly if its model is", want.key)
            require(want.loading or not want.empty, "every want is wanted", want.key)
            for waiter in want.waiters:
                require(state.waiters.get(waiter) == want.key, "waiters are known", want.key)
        for want in wants.queued(1):
            startable = (
                want.fetched
                and want.key.model not in cache.entries
                and state.budget.limit is None
                and cache.free > 0
                and state.loading < state.limits.max_concurrent_loads
            )
            require(not startable, "no startable want is unstarted", (want.key, residency))
    waiting = sum(len(want.waiters) for wants in state.wants for want in wants.by_model.values())
    require(waiting == len(state.waiters), "waiters are counted", residency)


class ResidencyWatch:
    """Follows one replica: loads and unloads pair up, every question is answered exactly once."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._held: dict[Key, str] = {}  # loading, unloading or resident, from the effects alone
        self._asked: dict[int, None] = {}
        self._lowered = False  # the cap was lowered: what is over it may stay until it is idle
        self.loads = 0
        self.unloads = 0

    def step(self, event: ResidencyEvent, effects: Iterable[ResidencyEffect], now: float) -> None:
        """Check one event, its effects and the state they lead to."""
        self._hear(event)
        answers = 0
        for effect in effects:
            answers += isinstance(effect, (ev.Admit, ev.Refuse))
            self._see(effect)
        if isinstance(event, ev.Offered):
            require(answers == 1, "an offered request is answered at once", event)
        check_residency(self._residency, now, lowered=self._lowered)

    def _hear(self, event: ResidencyEvent) -> None:
        if isinstance(event, ev.Asked):
            self._asked[event.waiter] = None
        elif isinstance(event, ev.AskCancelled):
            self._asked.pop(event.waiter, None)
        elif isinstance(event, ev.LoadFailed):
            require(self._held.pop(event.key, "") == "loading", "only a running load fails", event)
        elif isinstance(event, ev.Loaded):
            require(self._held.get(event.key) == "loading", "only a running load finishes", event)
            self._held[event.key] = "resident"
        elif isinstance(event, ev.Unloaded):
            require(self._held.pop(event.key, "") == "unloading", "only a running unload finishes", event)
        elif isinstance(event, ev.ReplicaLimitsChanged):
            self._lowered = True
        elif isinstance(event, ev.Ended):
            known = self._residency.state.waiters
            self._asked = {waiter: None for waiter in self._asked if waiter in known}

    def _see(self, effect: ResidencyEffect) -> None:
        if isinstance(effect, ev.Load):
            require(effect.key not in self._held, "a model is loaded once at a time", effect)
            self._held[effect.key] = "loading"
            self.loads += 1
        elif isinstance(effect, ev.Unload):
            require(self._held.get(effect.key) == "resident", "only a loaded model is unloaded", effect)
            self._held[effect.key] = "unloading"
            self.unloads += 1
            entry = self._residency.state.entry(effect.key)
            require(entry is not None and not entry.leases, "a leased model is never unloaded", effect)
            require(entry is not None and not (entry.pinned and effect.why == "evicted"), "pins hold", effect)
        elif isinstance(effect, (ev.Give, ev.Deny)):
            require(effect.waiter in self._asked, "a waiter is answered once", effect)
            del self._asked[effect.waiter]


def residue(residency: Residency) -> list[str]:
    """Return what is left over at a replica on which no request runs and nobody wants anything."""
    state = residency.state
    left = {
        "running": len(state.leases.running),
        "young leases": len(state.leases.young),
        "claims": len(state.claims),
        "waiters": len(state.waiters),
        "wants": sum(len(wants.by_model) for wants in state.wants),
        "in flight": state.admission.in_flight,
        "owed or promised": int(state.admission.busy),
    }
    return [f"{name}: {count}" for name, count in left.items() if count]


# --- router side ----------------------------------------------------------------------------------------


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
        bids.update(bid.view.id for bid in (demand.cold, demand.copy) if bid is not None)
        if len(demand.queue):
            require(model.holders & pool.room == 0, "nothing queues beside a free place", model)
            under_way = bool(model.holders or model.loading or demand.cold or demand.copy or not pool.up)
            require(under_way, "something is under way for whoever waits", model)
    for view in pool.by_id.values():
        require(view.bids == bids[view.id], "wants are counted", view)


def _check_view(pool: Pool, view: ReplicaView) -> None:
    bit = view.bit
    free = not (view.draining or view.owed) and view.in_flight < view.places
    require(bool(pool.up & bit) == (not view.draining), "up is known", view)
    require(bool(pool.room & bit) == free, "room is known", view)
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


# --- the pool -------------------------------------------------------------------------------------------


def check_single_flight(replicas: Iterable[Residency]) -> None:
    """Check that routers have no model loading more often than it is resident, or once.

    Loads that the config, an operator or user code asked a replica for are not the routers' to coordinate.
    """
    resident: Counter[str] = Counter()
    loading: Counter[str] = Counter()
    for residency in replicas:
        state = residency.state
        for cache, wants in zip(state.caches, state.wants, strict=True):
            for entry in cache.entries.values():
                want = wants.get(entry.key.model)
                if entry.state in ("resident", "draining"):
                    resident[entry.key.model] += 1
                elif entry.state == "loading" and want is not None and want.preload is None and want.links:
                    loading[entry.key.model] += 1
    for model, count in loading.items():
        require(count <= max(1, resident[model]), "one load per model, or per copy", (model, count))
