"""The life of a model on a replica: fetch, load, resident, draining, unloading, and what goes wrong with each."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Final

from runtime.core.events import (
    Deny,
    Failure,
    Fault,
    Fetch,
    Give,
    Key,
    Load,
    ModelState,
    ModelStatus,
    ResidencyEffect,
    Unload,
    UnloadReason,
)
from runtime.core.failures import failure_of, not_returned
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import Entry
from runtime.core.wants import Want

Effects = list[ResidencyEffect]

USEFULNESS: Final[dict[ModelState, int]] = {
    "absent": 0, "failed": 0, "abandoned": 1, "unloading": 2, "draining": 3, "fetching": 4, "loading": 5, "resident": 6,
}  # fmt: skip


class Loader:
    """Moves models from state to state and answers their wants; ``core.turns`` decides which and when."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self.fetches: OrderedDict[Key, float] = OrderedDict()  # running fetches → since when
        self._expired: dict[Key, None] = {}  # fetches given up that have not returned
        self._loads: OrderedDict[Key, float] = OrderedDict()
        self._unloads: OrderedDict[Key, float] = OrderedDict()
        self._faulted = False

    # --- before a slot ----------------------------------------------------------------------------------

    def fetch(self, want: Want, now: float, out: Effects) -> None:
        """Start fetching the file of ``want``; it can still be taken back."""
        self.fetches[want.key] = now
        self._state.arm(now + self._state.limits.load_timeout_s)
        self._announce(want.key, out)
        out.append(Fetch(want.key, case=250))

    def fetched(self, key: Key, size_bytes: int, now: float, out: Effects) -> None:
        """Note a finished fetch; the want waits for its slot, or is gone."""
        self._fetch_over(key)
        want = self._state.wants[key.cache].get(key.model)
        if want is not None and not want.loading:
            want.fetched = True
            want.fetch_size = size_bytes

    def fetch_failed(self, key: Key, failure: Failure, now: float, out: Effects) -> None:
        """Answer everybody who waits; no slot was taken and nobody was evicted."""
        if self._fetch_over(key):
            return
        want = self._state.wants[key.cache].get(key.model)
        if want is not None and not want.loading:
            self.fail(want, failure, now, out)

    def _fetch_over(self, key: Key) -> bool:
        """Forget a running fetch; return whether it had been given up."""
        self.fetches.pop(key, None)
        expired = key in self._expired
        self._expired.pop(key, None)
        return expired

    # --- in a slot --------------------------------------------------------------------------------------

    def load(self, want: Want, now: float, out: Effects) -> None:
        """Take a slot and load."""
        state = self._state
        size = state.budget.expected(want)
        entry = Entry(want.key, state.history.recall(want.key), now)
        state.caches[want.key.cache].add(entry)
        state.budget.resize(entry, size)
        state.budget.pin(entry, want.key in state.pins)
        state.wants[want.key.cache].start(want)
        if want.new:
            state.newcomers.started(want.key)
        self._loads[want.key] = now
        state.arm(now + state.limits.load_timeout_s)
        self._announce(want.key, out)
        out.append(Load(want.key, case=251))

    def loaded(self, key: Key, size_bytes: int, now: float, out: Effects) -> None:
        """Make the model resident and answer everybody who waits for it."""
        state = self._state
        entry = state.entry(key)
        if entry is None or entry.state not in ("loading", "abandoned"):
            return
        if entry.state == "abandoned":
            self.unload(entry, "abandoned", 266, now, out)
            return
        del self._loads[key]
        want = state.wants[key.cache].by_model[key.model]
        size = size_bytes or entry.size_bytes
        state.budget.resize(entry, size)
        entry.load_s = now - entry.since
        entry.loaded_at = now
        state.history.loaded(entry.past, entry.load_s, size)
        state.history.keep(key, entry.past)
        state.newcomers.loaded(key, entry.load_s, now)
        if entry.doomed:
            self.fail(want, failure_of("model_unloaded", key), now, out, remember=False, case=245)
            self.unload(entry, "admin", 264, now, out)
            return
        if state.budget.too_large(size, own=entry):
            self.fail(want, failure_of("model_too_large", key), now, out)
            self.unload(entry, "over_budget", 267, now, out)
            return
        state.failures.forget(key)
        state.caches[key.cache].move(entry, "resident", now)
        self._announce(key, out)
        self.grant(want, entry, now, out)

    def grant(self, want: Want, entry: Entry, now: float, out: Effects) -> None:
        """Answer a want with a resident model: claims for links, leases for waiting user code."""
        state = self._state
        cache = state.caches[entry.key.cache]
        state.wants[entry.key.cache].close(want)
        for link in want.links:
            state.claims.grant(link, entry, now)
            state.arm(now + state.limits.claim_grace_s)
        for waiter in want.waiters.values():
            del state.waiters[waiter.id]
            running = state.leases.running.get(waiter.request) if waiter.request is not None else None
            if running is not None:
                running.waits.pop(waiter.id, None)
                if running.find(entry) is None:
                    running.others += (state.leases.take(cache, entry, now, claimed=True),)
                    state.arm(now + state.limits.drain_limit_s)
            out.append(Give(waiter.id, entry.key, hit=False, case=231))
        state.settle(entry, now)

    def load_failed(self, key: Key, failure: Failure, now: float, out: Effects) -> None:
        """Free the slot and answer everybody once."""
        state = self._state
        entry = state.entry(key)
        if entry is None or entry.state not in ("loading", "abandoned"):
            return
        self._loads.pop(key, None)
        state.newcomers.failed(key)
        was_loading = entry.state == "loading"
        self._free(entry)
        if was_loading:
            self.fail(state.wants[key.cache].by_model[key.model], failure, now, out)
        else:
            self._announce(key, out)

    def fail(
        self, want: Want, failure: Failure, now: float, out: Effects, *, remember: bool = True, case: int = 241
    ) -> None:
        """Answer a want with a failure, once to all; publish it and, unless told otherwise, remember it."""
        state = self._state
        state.wants[want.key.cache].close(want)
        if remember:
            failure = state.failures.remember(want.key, failure, now)
        state.decisions.note(now, case, want.key.model, failure.code)
        if want.links or want.preload is not None or remember:
            status = ModelStatus(want.key.model, "failed", failure=failure)
            state.publish(status, out)
        for waiter in want.waiters.values():
            del state.waiters[waiter.id]
            self.deny(waiter.id, waiter.request, failure, case, out)

    def deny(self, waiter: int, request: object, failure: Failure, case: int, out: Effects) -> None:
        """Answer one waiting call of the loader with a failure."""
        running = self._state.leases.running.get(request) if request is not None else None
        if running is not None:
            running.waits.pop(waiter, None)
        out.append(Deny(waiter, failure, case=case))

    # --- out of a slot ----------------------------------------------------------------------------------

    def drain(self, entry: Entry, now: float, out: Effects) -> None:
        """Admit no more requests for ``entry``; it is unloaded with its last lease."""
        state = self._state
        state.caches[entry.key.cache].move(entry, "draining", now)
        state.arm(now + state.limits.drain_limit_s)
        self._announce(entry.key, out)

    def revert(self, entry: Entry, case: int, now: float, out: Effects) -> None:
        """Make a draining model resident again and answer whoever wanted it meanwhile."""
        state = self._state
        entry.doomed = False
        state.caches[entry.key.cache].move(entry, "resident", now)
        state.decisions.note(now, case, entry.key.model)
        self._announce(entry.key, out)
        want = state.wants[entry.key.cache].get(entry.key.model)
        if want is not None:
            self.grant(want, entry, now, out)

    def unload(
        self, entry: Entry, why: UnloadReason, case: int, now: float, out: Effects, room_for: Key | None = None
    ) -> None:
        """Take ``entry`` out; its slot is free when its cleanup has returned."""
        state = self._state
        state.claims.drop_entry(entry)
        state.history.keep(entry.key, entry.past)
        entry.doomed = False
        state.caches[entry.key.cache].move(entry, "unloading", now)
        self._unloads[entry.key] = now
        state.arm(now + state.limits.unload_timeout_s)
        self._announce(entry.key, out)
        out.append(Unload(entry.key, why, room_for, case=case))

    def unloaded(self, key: Key, now: float, out: Effects) -> None:
        """Free the slot of a model whose cleanup returned."""
        entry = self._state.entry(key)
        if entry is None or entry.state not in ("unloading", "abandoned") or key not in self._unloads:
            return
        del self._unloads[key]
        self._free(entry)
        self._announce(key, out)

    def _free(self, entry: Entry) -> None:
        self._state.budget.drop(entry)
        self._state.budget.pin(entry, False)
        self._state.caches[entry.key.cache].remove(entry)

    # --- deadlines --------------------------------------------------------------------------------------

    def lapse(self, now: float, out: Effects) -> None:
        """Give up what took too long."""
        limits = self._state.limits
        for key, since in list(self.fetches.items()):
            if since + limits.load_timeout_s > now:
                break
            del self.fetches[key]
            self._expired[key] = None
            want = self._state.wants[key.cache].get(key.model)
            if want is not None and not want.loading:
                self.fail(want, failure_of("load_timeout", key), now, out)
        for key, since in list(self._loads.items()):
            if since + limits.load_timeout_s > now:
                break
            del self._loads[key]
            self._abandon(key, now, out)
            self.fail(self._state.wants[key.cache].by_model[key.model], failure_of("load_timeout", key), now, out)
        for key, since in list(self._unloads.items()):
            if since + limits.unload_timeout_s > now:
                break
            self._abandon(key, now, out)
            self._unloads[key] = inf  # it keeps its slot until the cleanup returns
            self._unloads.move_to_end(key)
            want = self._state.wants[key.cache].get(key.model)
            if want is not None:
                self.fail(want, not_returned(key), now, out)

    def _abandon(self, key: Key, now: float, out: Effects) -> None:
        state = self._state
        cache = state.caches[key.cache]
        cache.move(cache.entries[key.model], "abandoned", now)
        state.newcomers.failed(key)
        self._announce(key, out)
        if not self._faulted and state.attainable(cache, hung=True) < state.budget.least:
            self._faulted = True
            text = "loads or cleanups that do not return hold every slot, or leave too few bytes for any model"
            out.append(Fault(f"{text} ({key.model})", case=290))

    def hanging(self, key: Key, now: float) -> Failure | None:
        """Return why ``key`` cannot be loaded, and remember it, while an abandoned load or cleanup of it still runs."""
        entry = self._state.entry(key)
        if entry is None or entry.state != "abandoned":
            return None
        return self._state.failures.remember(key, not_returned(key), now)

    def fetching(self, key: Key) -> bool:
        """Return whether a fetch of ``key`` has not returned yet."""
        return key in self.fetches or key in self._expired

    def drop(self, want: Want, now: float, out: Effects) -> None:
        """Publish that nothing is under way any more for a want that was taken back while its file was fetched."""
        if want.fetched or want.key in self.fetches:
            self._announce(want.key, out)

    def status(self, model: str) -> ModelStatus:
        """Return the state of a model, of several caches the most useful one."""
        best = ModelStatus(model, "absent")
        for cache, wants in zip(self._state.caches, self._state.wants, strict=True):
            entry = cache.entries.get(model)
            if entry is not None:
                found = ModelStatus(model, entry.state, entry.load_s, entry.size_bytes)
            elif model in wants.by_model and Key(cache.number, model) in self.fetches:
                found = ModelStatus(model, "fetching")
            else:
                continue
            if USEFULNESS[found.state] > USEFULNESS[best.state]:
                best = found
        return best

    def _announce(self, key: Key, out: Effects) -> None:
        self._state.publish(self.status(key.model), out)

    def dues(self) -> list[float]:
        """Return the next deadline of each kind of work in progress."""
        limits = self._state.limits
        heads = [
            (self.fetches, limits.load_timeout_s),
            (self._loads, limits.load_timeout_s),
            (self._unloads, limits.unload_timeout_s),
        ]
        return [next(iter(table.values())) + limit for table, limit in heads if table]
