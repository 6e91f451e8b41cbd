"""What must hold at a replica after every event."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.core import events as ev
from runtime.core.events import Key, ResidencyEffect, ResidencyEvent
from runtime.core.making_room import standing
from runtime.core.replica_state import ReplicaState
from runtime.core.residency import Residency
from runtime.core.slots import Cache, Entry
from runtime.simulate.rule import broken, require


def check_residency(residency: Residency, now: float, *, lowered: bool = False) -> None:
    """Check capacity, books and work conservation of one replica. ``lowered``: its limits were, so it may be over."""
    state = residency.state
    claims = used = pinned = held = 0
    leases, stuck = _leases(residency)
    for cache in state.caches:
        _check_cache(cache)
        _check_coldest(state, cache, now)
        if not lowered and 0 <= cache.cap < len(cache.entries):
            broken("the cap holds", cache)
        for entry in cache.entries.values():
            _check_entry(entry, leases.get(entry, 0), stuck.get(entry, 0))
            held += entry.leases
            claims += len(entry.claims)
            used += entry.size_bytes
            pinned += entry.size_bytes if entry.pinned else 0
    if sum(leases.values()) != held:
        broken("no lease without its model", residency)
    if claims != len(state.claims):
        broken("claims are counted", residency)
    if any((found := state.entry(key)) is None or found.state != "loading" for key in state.newcomers.loading):
        broken("newcomers are loading", residency)
    if state.budget.used != used:
        broken("bytes add up", residency)
    if state.budget.pinned != pinned:
        broken("pinned bytes add up", residency)
    _check_places(residency, lowered)
    _check_wants(residency, now)


def _leases(residency: Residency) -> tuple[dict[Entry, int], dict[Entry, int]]:
    """Return how many leases each model has by its requests, and how many of them are stuck."""
    leases: dict[Entry, int] = {}
    stuck: dict[Entry, int] = {}
    for one in residency.state.leases.running.values():
        for lease in one.leases():
            leases[lease.entry] = leases.get(lease.entry, 0) + 1
            if lease.stuck:
                stuck[lease.entry] = stuck.get(lease.entry, 0) + 1
    return leases, stuck


def _check_entry(entry: Entry, leases: int, stuck: int) -> None:
    if entry.leases != leases:
        broken("leases are counted by their requests", entry)
    if entry.stuck != stuck:
        broken("stuck leases are counted", entry)
    if entry.state in ("resident", "draining"):
        return
    if entry.leases:
        broken("only resident and draining models are leased", entry)
    if entry.claims:
        broken("claims need residents", entry)


def _check_cache(cache: Cache) -> None:
    counted: dict[str, int] = dict.fromkeys(cache.count, 0)
    blocked = idle = 0
    for model, entry in cache.entries.items():
        counted[entry.state] += 1
        blocked += entry.blocking
        if entry.evictable:
            idle += 1
            if model not in cache.idle:
                broken("the idle order holds every evictable model", cache)
    if cache.count != counted:
        broken("states are counted", cache)
    if idle != len(cache.idle):
        broken("the idle order holds evictable models only", cache)
    if cache.blocked != blocked:
        broken("blocked slots are counted", cache)


def _check_coldest(state: ReplicaState, cache: Cache, now: float) -> None:
    """Check that what is published as the next victim is what looking at every idle model would find."""
    if cache.coldest is None:
        return
    if cache.idle.get(cache.coldest.key.model) is not cache.coldest:
        broken("the coldest model is idle", cache)
    worth = state.policy.worth(standing(state, cache.coldest, now))
    for entry in cache.idle.values():
        if entry not in cache.idled and state.policy.worth(standing(state, entry, now)) < worth:
            broken("the coldest model is known", entry)


def _check_places(residency: Residency, lowered: bool) -> None:
    admission = residency.state.admission
    taken = admission.in_flight + admission.promised
    if admission.in_flight != len(residency.state.leases.running):
        broken("places are counted", admission)
    if taken > admission.places and not lowered:
        broken("places are bounded", admission)
    if admission.owing and taken < admission.places:
        broken("no place is free while one is owed", admission)


def _check_wants(residency: Residency, now: float) -> None:
    """Check that no want is left unstarted beside a free slot, a permit and bytes."""
    state = residency.state
    waiting = 0
    for cache, wants in zip(state.caches, state.wants, strict=True):
        for want in wants.by_model.values():
            entry = cache.entries.get(want.key.model)
            if want.loading != (entry is not None and entry.state == "loading"):
                broken("a want is loading exactly if its model is", want.key)
            if want.empty and not want.loading:
                broken("every want is wanted", want.key)
            waiting += len(want.waiters)
            for waiter in want.waiters:
                if state.waiters.get(waiter) != want.key:
                    broken("waiters are known", want.key)
        for want in wants.queued(1):
            if (
                want.fetched
                and want.key.model not in cache.entries
                and state.budget.limit is None
                and cache.free > 0
                and state.loading < state.limits.max_concurrent_loads
            ):
                broken("no startable want is unstarted", (want.key, residency))
    if waiting != len(state.waiters):
        broken("waiters are counted", residency)


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
