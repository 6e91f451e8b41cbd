"""Which want gets a slot next, and who makes room for it.

Nothing is remembered between two passes: the wants, in their order, are matched to free slots, then to slots that
are coming free, then to victims. So a victim is never bound to a want that has gone, and whatever slot comes free
first goes to the oldest want that fits.
"""

from __future__ import annotations

from math import inf

from runtime.core.deadlock import deadlocked
from runtime.core.events import ReplicaLimits, ResidencyEffect
from runtime.core.failures import failure_of
from runtime.core.loader import Loader
from runtime.core.making_room import idle_victim, spared_until, yielder
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import Cache, Entry
from runtime.core.wants import Want, Wants

Effects = list[ResidencyEffect]


def fetch_limit(limits: ReplicaLimits) -> int:
    """Return how many files are fetched at once: as many as load, and a few ahead."""
    return limits.max_concurrent_loads + 4


class Turn:
    """One pass over one cache: what is left for the wants that come next."""

    def __init__(self, cache: Cache, state: ReplicaState) -> None:
        unloading = [entry for entry in cache.entries.values() if entry.state == "unloading"]
        budget = state.budget
        self.free = cache.free
        self.coming = len(unloading)
        self.bytes_now = inf if budget.limit is None else budget.limit - budget.used
        self.bytes_soon = self.bytes_now + sum(entry.size_bytes for entry in unloading)
        self.permits = state.limits.max_concurrent_loads - state.loading
        self.draining = [entry for entry in cache.entries.values() if entry.state == "draining" and not entry.doomed]
        self.drains_needed = 0
        self.new = len(state.newcomers.loading)
        self.spare = 0  # slots for which none but new models wait

    def admits(self, need: int, allowed: int) -> bool:
        """Count a new model if it has a turn: beyond ``allowed`` of them only where nobody goes or waits for it."""
        if self.new >= allowed and (self.spare <= 0 or self.bytes_soon < need):
            return False
        self.new += 1
        self.spare -= 1
        return True

    def reserve(self, need: int, *, slot_now: bool) -> None:
        """Set aside a slot, a permit and bytes for a want."""
        if slot_now:
            self.free -= 1
        else:
            self.coming -= 1
        self.permits -= 1
        self.bytes_now -= need
        self.bytes_soon -= need


class Turns:
    """Serves the wants of every cache, as far as slots, bytes and permits go."""

    def __init__(self, state: ReplicaState, loader: Loader) -> None:
        self._state = state
        self._loader = loader

    def advance(self, now: float, out: Effects) -> None:
        """Start what can start, make room for what cannot, take back drains that nobody needs."""
        state = self._state
        for cache, wants in zip(state.caches, state.wants, strict=True):
            if cache.free < 0 or state.budget.over:
                self._shed(cache, now, out)
            if wants.waiting or cache.count["draining"]:
                self._serve(cache, wants, now, out)
        waiting = any(wants.waiting for wants in state.wants)
        if waiting:
            self._deny_hopeless(now, out)
        state.pressed = (
            waiting or state.budget.over > 0 or any(cache.count["draining"] or cache.free < 0 for cache in state.caches)
        )

    def _shed(self, cache: Cache, now: float, out: Effects) -> None:
        """Unload idle models while the cap (lowered) or the budget (a surprise) is exceeded."""
        state = self._state
        while True:
            unloading = [entry for entry in cache.entries.values() if entry.state == "unloading"]
            coming = sum(entry.size_bytes for entry in unloading)
            if cache.free + len(unloading) >= 0 and state.budget.over <= coming:
                return
            victim = idle_victim(state, cache, None, now)
            if victim is None:
                return
            self._loader.unload(victim, "over_budget", 267, now, out)

    def _serve(self, cache: Cache, wants: Wants, now: float, out: Effects) -> None:
        state = self._state
        turn = Turn(cache, state)
        fetch_ahead = fetch_limit(state.limits)
        queued = self._first(cache, wants, turn, state.limits.max_concurrent_loads + fetch_ahead, now, out)
        if wants.new:
            turn.spare = turn.free + turn.coming - sum(not want.new for want in queued)
        for want in queued:
            if not self._fetched(want, fetch_ahead, now, out):
                continue
            if turn.permits <= 0:
                turn.drains_needed = len(turn.draining) if self._may_push(want, now) else 0
                break
            if not self._place(want, cache, turn, now, out):
                break
        for entry in turn.draining[turn.drains_needed :]:
            self._loader.revert(entry, 268, now, out)

    def _first(self, cache: Cache, wants: Wants, turn: Turn, limit: int, now: float, out: Effects) -> list[Want]:
        """Return the first wants to serve. One for which nobody can make room holds up no others; its drains go on."""
        left = self._state.attainable(cache)
        found: list[Want] = []
        for want in wants.every() if left < inf else wants.queued(limit):
            if want.key.model in cache.entries or self._too_large(want, now, out):
                continue
            if self._state.budget.expected(want) <= left:
                found.append(want)
            elif self._may_push(want, now):
                turn.draining = []
        return found

    def _too_large(self, want: Want, now: float, out: Effects) -> bool:
        size = self._state.budget.known(want)
        if not size or not self._state.budget.too_large(size):
            return False
        self._loader.fail(want, failure_of("model_too_large", want.key), now, out)
        return True

    def _fetched(self, want: Want, limit: int, now: float, out: Effects) -> bool:
        """Return whether the file of ``want`` is at hand; start fetching it if it is not."""
        if not self._state.limits.has_source:
            want.fetched = True
        elif want.fetched:
            return True
        elif len(self._loader.fetches) < limit and not self._loader.fetching(want.key):
            self._loader.fetch(want, now, out)
        return want.fetched

    def _place(self, want: Want, cache: Cache, turn: Turn, now: float, out: Effects) -> bool:
        """Serve one want or make room for it; return whether younger ones may be looked at."""
        need = self._state.budget.expected(want)
        if want.new and not turn.admits(need, self._state.newcomers.allowed(now)):
            return True  # it has its turn when the load of another new model has ended
        if turn.free > 0 and turn.bytes_now >= need and not self._state.budget.over:
            turn.reserve(need, slot_now=True)
            self._loader.load(want, now, out)
            return True
        if self._evict_for(want, need, cache, turn, now, out):
            turn.reserve(need, slot_now=turn.free > 0)
            return True
        if self._may_push(want, now):
            return self._push(want, need, cache, turn, now, out)
        if want.cold:
            self._state.arm(want.since + self._state.limits.swap_wait_s)
        return turn.free > 0 or turn.coming > 0  # only bytes lack: a smaller one may fit until it is old

    def _evict_for(self, want: Want, need: int, cache: Cache, turn: Turn, now: float, out: Effects) -> bool:
        """Unload idle models until a slot and the bytes are coming free; touch nobody if that cannot be."""
        if turn.bytes_soon < need:
            until = {entry: spared_until(self._state, cache, entry, want, now) for entry in cache.idle.values()}
            idle = sum(entry.size_bytes for entry, when in until.items() if when <= now)
            if turn.bytes_soon + idle < need:
                for when in until.values():
                    self._state.arm(when if when > now else None)
                return False
        while (turn.free <= 0 and turn.coming <= 0) or turn.bytes_soon < need:
            victim = idle_victim(self._state, cache, want, now)
            if victim is None:
                return False
            self._take(victim, want, turn, now, out)
        return True

    def _take(self, victim: Entry, want: Want, turn: Turn, now: float, out: Effects) -> None:
        turn.coming += 1
        turn.bytes_soon += victim.size_bytes
        self._loader.unload(victim, "evicted", 260, now, out, want.key)

    def _may_push(self, want: Want, now: float) -> bool:
        return want.cold and now >= want.since + self._state.limits.swap_wait_s

    def _push(self, want: Want, need: int, cache: Cache, turn: Turn, now: float, out: Effects) -> bool:
        """Have a busy model yield to a cold want that has waited long enough."""
        turn.drains_needed += 1
        if len(turn.draining) >= turn.drains_needed:
            return True
        if turn.drains_needed > max(1, cache.cap // 2):
            turn.drains_needed -= 1
            return False
        victim = yielder(self._state, cache, want, now)
        if victim is None:
            turn.drains_needed -= 1
            return False
        if victim.leases:
            turn.draining.append(victim)
            self._loader.drain(victim, now, out)
            return True
        turn.drains_needed -= 1
        self._take(victim, want, turn, now, out)
        if turn.bytes_soon >= need:
            turn.reserve(need, slot_now=turn.free > 0)
        return True

    # --- what can never be served -----------------------------------------------------------------------

    def _deny_hopeless(self, now: float, out: Effects) -> None:
        """Deny waiting user code for which nobody can make room, and the youngest of those that block each other."""
        state = self._state
        for cache, wants in zip(state.caches, state.wants, strict=True):
            left = state.attainable(cache)
            for want in wants.every() if left < inf else ():
                if state.budget.expected(want) > left and want.key.model not in cache.entries:
                    self._deny_all(want, wants, now, out)
        held = deadlocked(state.caches, state.leases.running) if state.waiters else []
        if held:
            self._deny_request(held[-1], now, out)
            self.advance(now, out)

    def _deny_all(self, want: Want, wants: Wants, now: float, out: Effects) -> None:
        failure = failure_of("slots_busy", want.key, self._state.limits.drain_limit_s)
        if want.preload is not None and not want.links:
            self._loader.fail(want, failure, now, out, remember=False, case=243)
            return
        for waiter in list(want.waiters.values()):
            del want.waiters[waiter.id], self._state.waiters[waiter.id]
            self._loader.deny(waiter.id, waiter.request, failure, 243, out)
        wants.changed(want)

    def _deny_request(self, request: object, now: float, out: Effects) -> None:
        running = self._state.leases.running[request]
        for waiter, key in list(running.waits.items()):
            wants = self._state.wants[key.cache]
            want = wants.by_model[key.model]
            del want.waiters[waiter], self._state.waiters[waiter]
            self._state.decisions.note(now, 242, key.model, "", (), request)
            self._loader.deny(waiter, request, failure_of("slot_deadlock", key, 1.0), 242, out)
            wants.changed(want)
