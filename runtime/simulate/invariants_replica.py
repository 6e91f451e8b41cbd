"""What must hold at a replica after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.core import events as ev
from runtime.core.events import Key, ResidencyEffect, ResidencyEvent
from runtime.core.residency import Residency
from runtime.core.slots import Cache
from runtime.simulate.rule import require


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
    loading = {entry.key for entry in entries if entry.state == "loading"}
    require(state.newcomers.loading.keys() <= loading, "newcomers are loading", residency)
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
