"""What a replica makes of what routers, the config and operators wish: wants, claims, places, pins, unloads."""

from __future__ import annotations

from runtime.core import events as ev
from runtime.core.claims import refused
from runtime.core.events import Key, ModelStatus, ResidencyEffect
from runtime.core.failures import failure_of
from runtime.core.loader import Loader
from runtime.core.replica_state import ReplicaState
from runtime.core.requests import Requests
from runtime.core.turns import Turns

Effects = list[ResidencyEffect]


class Wishes:
    """Takes note of who wants which model here, and of who does not any more."""

    def __init__(self, state: ReplicaState, loader: Loader, turns: Turns, requests: Requests) -> None:
        self._state = state
        self._loader = loader
        self._turns = turns
        self._requests = requests

    def wanted(self, event: ev.Wanted, now: float, out: Effects) -> None:
        state = self._state
        if state.stopping or len(state.caches) != 1:
            out.append(ev.Withdrawn(event.link, event.model, case=281))
            return
        key = Key(0, event.model)
        entry = state.entry(key)
        if entry is not None and entry.state == "resident":
            state.claims.grant(event.link, entry, now)
            state.arm(now + state.limits.claim_grace_s)
            state.settle(entry, now)
            return
        failure = state.failure(key, now) if event.kind != "admin" else None
        failure = failure or self._loader.hanging(key, now)
        if failure is not None:
            state.publish(ModelStatus(event.model, "failed", failure=failure), out)
            return
        want = state.wants[0].open(key, new=state.new(key))
        want.links[event.link] = (event.kind, now - event.age_s)
        want.spare = event.spare
        state.wants[0].changed(want)
        state.dirty = True
        self._turns.advance(now, out)

    def unwanted(self, event: ev.Unwanted, now: float, out: Effects) -> None:
        state = self._state
        if len(state.caches) != 1:
            return
        key = Key(0, event.model)
        want = state.wants[0].get(event.model)
        if want is None:
            self.released(event, now, out)
        elif want.links.pop(event.link, None) is not None:
            self._requests.want_changed(key, now, out)
            if not want.loading:
                out.append(ev.Withdrawn(event.link, event.model, case=280))
            self._turns.advance(now, out)

    def released(self, event: ev.Released | ev.Unwanted, now: float, out: Effects) -> None:
        if len(self._state.caches) != 1:
            return
        want = self._state.wants[0].get(event.model)
        if want is not None and want.links.pop(event.link, None) is not None:
            self._requests.want_changed(want.key, now, out)
            self._turns.advance(now, out)
        entry = self._state.caches[0].entries.get(event.model)
        if entry is not None and self._state.claims.drop(event.link, entry):
            self._state.settle(entry, now)
            self._turns.advance(now, out)

    def expected(self, event: ev.Expected, now: float, out: Effects) -> None:
        self._state.returns.append(now + event.in_s)

    def place_passed(self, event: ev.PlacePassed, now: float, out: Effects) -> None:
        self._state.admission.passed(event.link)
        self._state.admission.offer(now, out)
        self._state.arm(self._state.admission.due())
        kept = self._state.claims.drop_link(refused(event.link))
        for entry in kept:
            self._state.settle(entry, now)
        if kept:
            self._turns.advance(now, out)

    def link_up(self, event: ev.LinkUp, now: float, out: Effects) -> None:
        self._state.dirty = True

    def link_down(self, event: ev.LinkDown, now: float, out: Effects) -> None:
        state = self._state
        state.admission.down(event.link)
        state.admission.offer(now, out)
        state.arm(state.admission.due())
        for entry in [*state.claims.drop_link(event.link), *state.claims.drop_link(refused(event.link))]:
            state.settle(entry, now)
        for wants in state.wants:
            for want in list(wants.by_model.values()):
                if want.links.pop(event.link, None) is not None:
                    self._requests.want_changed(want.key, now, out)
        self._turns.advance(now, out)

    def preload(self, event: ev.Preload, now: float, out: Effects) -> None:
        state = self._state
        if event.pinned:
            self.pin_changed(ev.PinChanged(event.key, True), now, out)
        entry = state.entry(event.key)
        if state.stopping or (entry is not None and entry.state == "resident"):
            return
        state.failures.forget(event.key)
        failure = self._loader.hanging(event.key, now)
        if failure is not None:
            state.publish(ModelStatus(event.key.model, "failed", failure=failure), out)
            return
        want = state.wants[event.key.cache].open(event.key)
        want.preload = now
        state.wants[event.key.cache].changed(want)
        self._turns.advance(now, out)

    def pin_changed(self, event: ev.PinChanged, now: float, out: Effects) -> None:
        state = self._state
        if event.pinned:
            state.pins[event.key] = None
        else:
            state.pins.pop(event.key, None)
        entry = state.entry(event.key)
        if entry is None:
            return
        state.budget.pin(entry, event.pinned)
        if event.pinned and entry.state == "draining":
            self._loader.revert(entry, 268, now, out)
        state.settle(entry, now)
        self._turns.advance(now, out)

    def unload_asked(self, event: ev.UnloadAsked, now: float, out: Effects) -> None:
        self.pin_changed(ev.PinChanged(event.key, False), now, out)
        entry = self._state.entry(event.key)
        want = self._state.wants[event.key.cache].get(event.key.model)
        if want is not None and not want.loading:
            self._loader.fail(want, failure_of("model_unloaded", event.key), now, out, remember=False, case=245)
        if entry is not None and entry.state in ("loading", "draining"):
            entry.doomed = True
        elif entry is not None and entry.state == "resident":
            if entry.leases:
                self._loader.drain(entry, now, out)
                entry.doomed = True
            else:
                self._loader.unload(entry, "admin", 264, now, out)
        self._turns.advance(now, out)
