"""The brain of a replica: which models it holds, who uses them, which requests run.

``handle(event, now)`` returns the effects that the shell performs in order; ``deadline()`` is when it must be
woken with ``Woken`` if nothing else happens. The rules are numbered in ``core.cases``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from runtime.core import events as ev
from runtime.core.decisions import Decision
from runtime.core.events import Key, ModelStatus, ReplicaLimits, ResidencyEffect, ResidencyEvent
from runtime.core.loader import Loader
from runtime.core.replica_state import ReplicaState
from runtime.core.requests import Requests
from runtime.core.slots import Cache
from runtime.core.summary import Summariser
from runtime.core.turns import Turns
from runtime.core.wishes import Wishes

Effects = list[ResidencyEffect]


class Residency:
    """One replica's slots, leases, claims, wants, places and bytes as a state machine."""

    def __init__(self, limits: ReplicaLimits) -> None:
        self.state = ReplicaState(limits)
        self._loader = Loader(self.state)
        self._turns = Turns(self.state, self._loader)
        self._requests = Requests(self.state, self._loader, self._turns)
        self._wishes = Wishes(self.state, self._loader, self._turns, self._requests)
        self._summariser = Summariser(self.state)
        self._handlers: dict[type, Callable[[Any, float, Effects], None]] = {
            ev.Offered: self._requests.offered,
            ev.Ended: self._requests.ended,
            ev.Asked: self._requests.asked,
            ev.AskCancelled: self._requests.ask_cancelled,
            ev.Wanted: self._wishes.wanted,
            ev.Unwanted: self._wishes.unwanted,
            ev.Released: self._wishes.released,
            ev.Expected: self._wishes.expected,
            ev.PlacePassed: self._wishes.place_passed,
            ev.LinkUp: self._wishes.link_up,
            ev.LinkDown: self._wishes.link_down,
            ev.Fetched: self._fetched,
            ev.FetchFailed: self._fetch_failed,
            ev.Loaded: self._loaded,
            ev.LoadFailed: self._load_failed,
            ev.Unloaded: self._unloaded,
            ev.PinChanged: self._wishes.pin_changed,
            ev.UnloadAsked: self._wishes.unload_asked,
            ev.Preload: self._wishes.preload,
            ev.ReplicaLimitsChanged: self._limits_changed,
            ev.Stopping: self._stopping,
            ev.Woken: self._woken,
        }

    def handle(self, event: ResidencyEvent, now: float) -> Effects:
        """Take one event at ``now`` (seconds, monotonic); return what to do, in order."""
        out: Effects = []
        if now >= self.state.due:
            self._tick(now, out)
        self._handlers[type(event)](event, now, out)
        if self.state.dirty and (self.state.moved or now >= self._summariser.due):
            self._summariser.send(now, out)
        return out

    def deadline(self) -> float | None:
        """Return when to call ``handle(Woken())`` if nothing happens before; None: never."""
        due = self.state.due
        if self.state.dirty and self._summariser.due < due:
            due = self._summariser.due
        return None if due == inf else due

    def _fetched(self, event: ev.Fetched, now: float, out: Effects) -> None:
        self._loader.fetched(event.key, event.size_bytes, now, out)
        self._turns.advance(now, out)

    def _fetch_failed(self, event: ev.FetchFailed, now: float, out: Effects) -> None:
        self._loader.fetch_failed(event.key, event.failure, now, out)
        self._turns.advance(now, out)

    def _loaded(self, event: ev.Loaded, now: float, out: Effects) -> None:
        self._loader.loaded(event.key, event.size_bytes, now, out)
        entry = self.state.entry(event.key)
        if self.state.stopping and entry is not None and entry.state == "resident" and not entry.leases:
            self._loader.unload(entry, "shutdown", 265, now, out)
        self._turns.advance(now, out)

    def _load_failed(self, event: ev.LoadFailed, now: float, out: Effects) -> None:
        self._loader.load_failed(event.key, event.failure, now, out)
        self._turns.advance(now, out)

    def _unloaded(self, event: ev.Unloaded, now: float, out: Effects) -> None:
        self._loader.unloaded(event.key, now, out)
        self._turns.advance(now, out)

    def _limits_changed(self, event: ev.ReplicaLimitsChanged, now: float, out: Effects) -> None:
        self.state.apply(event.limits)
        self.state.admission.offer(now, out)
        self.state.arm(self.state.admission.due())
        self._tick(now, out)

    def _stopping(self, event: ev.Stopping, now: float, out: Effects) -> None:
        state = self.state
        state.stopping = True
        for wants in state.wants:
            for want in list(wants.by_model.values()):
                if not want.loading:
                    out.extend(ev.Withdrawn(link, want.key.model, case=281) for link in want.links)
                want.links.clear()
                want.preload = None
                self._requests.want_changed(want.key, now, out)
        for cache in state.caches:
            for entry in list(cache.entries.values()):
                if entry.state == "resident" and not entry.leases:
                    self._loader.unload(entry, "shutdown", 265, now, out)
        self._turns.advance(now, out)

    def _woken(self, event: ev.Woken, now: float, out: Effects) -> None:
        pass  # ``handle`` has done what was due

    def _tick(self, now: float, out: Effects) -> None:
        """Do whatever is due, and find out when something is due next."""
        state = self.state
        limits = state.limits
        state.due = inf
        for entry in state.claims.lapse(now):
            state.settle(entry, now)
        for entry in state.leases.mark_stuck(now, limits.drain_limit_s):
            state.caches[entry.key.cache].judge(entry)
        self._loader.lapse(now, out)
        state.admission.lapse(now)
        state.admission.offer(now, out)
        for cache in state.caches:
            self._tick_cache(cache, now, out)
        self._turns.advance(now, out)
        oldest = state.leases.oldest()
        state.arm(oldest + limits.drain_limit_s if oldest is not None else None)
        for due in (state.claims.due(), state.admission.due(), *self._loader.dues()):
            state.arm(due)
        state.dirty = True

    def _tick_cache(self, cache: Cache, now: float, out: Effects) -> None:
        limits = self.state.limits
        if cache.count["draining"]:
            for entry in list(cache.entries.values()):
                if entry.state != "draining":
                    continue
                if entry.since + limits.drain_limit_s <= now:
                    self._loader.revert(entry, 269, now, out)
                else:
                    self.state.arm(entry.since + limits.drain_limit_s)
        if limits.idle_unload_s is None:
            return
        while cache.idle:
            entry = next(iter(cache.idle.values()))
            if entry.idle_since + limits.idle_unload_s > now:
                self.state.arm(entry.idle_since + limits.idle_unload_s)
                break
            self._loader.unload(entry, "idle", 263, now, out)

    def models(self) -> list[tuple[Key, ModelStatus, int, bool]]:
        """Return (key, status, leases, pinned) of every model that holds a slot."""
        return [
            (
                entry.key,
                ModelStatus(entry.key.model, entry.state, entry.load_s, entry.size_bytes),
                entry.leases,
                entry.pinned,
            )
            for cache in self.state.caches
            for entry in cache.entries.values()
        ]

    def snapshot(self, now: float) -> tuple[tuple[ModelStatus, ...], ev.Summary]:
        """Return the states and the summary that a newly connected router is sent."""
        models: dict[str, ModelStatus] = {}
        for cache in self.state.caches:
            for entry in cache.entries.values():
                models[entry.key.model] = self._loader.status(entry.key.model)
        return tuple(models.values()), self._summariser.summary(now)

    def decisions(self, model: str | None = None) -> list[Decision]:
        """Return what was decided lately, oldest first."""
        return self.state.decisions.list(model)

    def __repr__(self) -> str:
        return f"<Residency {self.state.caches} {self.state.wants} {self.state.admission}>"
