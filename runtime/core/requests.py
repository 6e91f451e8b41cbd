"""What a replica answers to requests and to user code: admit or refuse, give or deny; leases begin and end here."""

from __future__ import annotations

from runtime.core import events as ev
from runtime.core.claims import refused
from runtime.core.events import Key, ResidencyEffect
from runtime.core.failures import failure_of
from runtime.core.leases import Running
from runtime.core.loader import Loader
from runtime.core.making_room import RESIDENCY
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import Entry
from runtime.core.turns import Turns
from runtime.core.wants import Waiter

Effects = list[ResidencyEffect]


class Requests:
    """Admits requests to places and user code to models."""

    def __init__(self, state: ReplicaState, loader: Loader, turns: Turns) -> None:
        self._state = state
        self._loader = loader
        self._turns = turns

    def offered(self, event: ev.Offered, now: float, out: Effects) -> None:
        state = self._state
        if state.stopping:
            out.append(ev.Refuse(event.link, event.request, "draining", case=210))
            return
        model = event.model
        entry: Entry | None = None
        if model is not None and state.early:
            entry = state.caches[0].entries.get(model)
            if entry is None or entry.state != "resident":
                entry = None
                failure = state.failure(Key(0, model), now)
                if failure is None or not state.limits.admit_failed:
                    self._not_resident(event, failure, now, out)
                    return
        if not state.admission.take(event.link):
            if entry is not None:  # its router is owed a place and has released the model: kept until it comes again
                state.claims.refuse(event.link, entry, now)
                state.arm(now + state.limits.claim_grace_s)
                state.settle(entry, now)
            out.append(ev.Refuse(event.link, event.request, "full", case=212))
            return
        state.dirty = True
        if entry is None:
            state.leases.running[event.request] = Running(now, None)
            early = model is not None and state.early
            out.append(ev.Admit(event.request, model, False if early else None, case=203 if early else 202))
            return
        if entry.claims:
            state.claims.drop(refused(event.link), entry)
        lease = state.leases.take(state.caches[0], entry, now, claimed=False)
        state.leases.running[event.request] = Running(now, lease)
        if entry.claims:
            state.arm(state.claims.served(event.link, entry, now + RESIDENCY * entry.load_s))
        if now + state.limits.drain_limit_s < state.due:
            state.due = now + state.limits.drain_limit_s
        out.append(ev.Admit(event.request, model, True, case=201))

    def _not_resident(self, event: ev.Offered, failure: ev.Failure | None, now: float, out: Effects) -> None:
        """Refuse a request for what is not here. If that was its router's answer to an offer, the place is free."""
        if failure is None:
            out.append(ev.Refuse(event.link, event.request, "absent", case=211))
        else:
            out.append(ev.Refuse(event.link, event.request, "failed", failure, case=213))
        admission = self._state.admission
        if admission.busy:
            admission.passed(event.link)
            admission.offer(now, out)
            self._state.arm(admission.due())

    def ended(self, event: ev.Ended, now: float, out: Effects) -> None:
        state = self._state
        running = state.leases.running.pop(event.request, None)
        if running is None:
            return
        if running.waits:
            for waiter in list(running.waits):
                self._forget_waiter(waiter, now, out)
        if running.lease is not None:
            self._lease_over(state.leases.drop(running.lease), now, out)
        for lease in running.others:
            self._lease_over(state.leases.drop(lease), now, out)
        state.admission.release()
        state.dirty = True
        if state.admission.owing:
            state.admission.offer(now, out)
            state.arm(state.admission.due())
        if state.pressed:
            self._turns.advance(now, out)

    def _lease_over(self, entry: Entry, now: float, out: Effects) -> None:
        """See what becomes of a model that one lease less uses."""
        if entry.leases:
            self._state.caches[entry.key.cache].judge(entry)
            return
        if entry.state == "draining":
            why: ev.UnloadReason = "admin" if entry.doomed else "evicted"
            self._loader.unload(entry, why, 262, now, out)
        elif self._state.stopping and entry.state == "resident":
            self._loader.unload(entry, "shutdown", 265, now, out)
        else:
            self._state.settle(entry, now)

    def asked(self, event: ev.Asked, now: float, out: Effects) -> None:
        state = self._state
        running = state.leases.running.get(event.request) if event.request is not None else None
        entry = state.entry(event.key)
        lease = running.find(entry) if running is not None and entry is not None else None
        if lease is not None:
            lease.claimed = True
            out.append(ev.Give(event.waiter, event.key, case=230))
        elif entry is not None and entry.state == "resident":
            if running is not None:
                cache = state.caches[event.key.cache]
                running.others += (state.leases.take(cache, entry, now, claimed=True),)
                state.arm(now + state.limits.drain_limit_s)
            out.append(ev.Give(event.waiter, event.key, case=230))
        else:
            self._ask_waits(event, running, now, out)

    def _ask_waits(self, event: ev.Asked, running: Running | None, now: float, out: Effects) -> None:
        state = self._state
        failure = state.failure(event.key, now) or self._loader.hanging(event.key, now)
        if failure is not None or (state.stopping and running is None):
            case = 240 if failure is not None else 244
            out.append(ev.Deny(event.waiter, failure or failure_of("draining", event.key), case=case))
            return
        request = event.request if running is not None else None
        state.waiters[event.waiter] = event.key
        want = state.wants[event.key.cache].open(event.key, new=state.new(event.key))
        want.waiters[event.waiter] = Waiter(event.waiter, request, now)
        state.wants[event.key.cache].changed(want)
        if running is not None:
            running.wait(event.waiter, event.key)
            if running.lease is not None and not running.lease.claimed:
                lease, running.lease = running.lease, None
                self._lease_over(state.leases.drop(lease), now, out)
        self._turns.advance(now, out)

    def ask_cancelled(self, event: ev.AskCancelled, now: float, out: Effects) -> None:
        self._forget_waiter(event.waiter, now, out)
        self._turns.advance(now, out)

    def _forget_waiter(self, waiter: int, now: float, out: Effects) -> None:
        key = self._state.waiters.pop(waiter, None)
        if key is None:
            return
        want = self._state.wants[key.cache].by_model[key.model]
        request = want.waiters.pop(waiter).request
        running = self._state.leases.running.get(request) if request is not None else None
        if running is not None:
            running.waits.pop(waiter, None)
        self.want_changed(key, now, out)

    def want_changed(self, key: Key, now: float, out: Effects) -> None:
        """Put a want in its new order; if nobody wants it any more and it has not started, it is gone."""
        wants = self._state.wants[key.cache]
        want = wants.by_model[key.model]
        wants.changed(want)
        self._state.dirty = True
        if key.model not in wants.by_model:
            self._loader.drop(want, now, out)
