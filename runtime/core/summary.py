"""What a replica publishes of its load: quantised, with every change of a model's state, else every 10 ms at most."""

from __future__ import annotations

from math import inf

from runtime.core.events import ResidencyEffect, Summarise, Summary
from runtime.core.making_room import standing
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import UNLIMITED, Cache, Entry

EVERY_S = 0.010
OLD_S = 1e6  # from so much idle time on, nothing is gained by publishing that it has doubled
STEPS = 8  # in_flight is rounded up to multiples of places / STEPS


class Summariser:
    """Sends the summary when it has changed; the age of the coldest model counts as a change when it doubles."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._sent: Summary | None = None
        self.due = -inf  # not before

    def send(self, now: float, out: list[ResidencyEffect]) -> None:
        """Send the summary if it differs from the last one."""
        self._state.dirty = self._state.moved = False
        summary = self.summary(now)
        if summary != self._sent:
            self._sent = summary
            self.due = now + EVERY_S
            out.append(Summarise(summary, case=271))

    def summary(self, now: float) -> Summary:
        state = self._state
        admission = state.admission
        step = max(1, admission.places // STEPS)
        free = evictable = stuck = waiting = 0
        for cache, wants in zip(state.caches, state.wants, strict=True):
            free += max(0, cache.free)
            evictable += len(cache.idle)
            if state.jammed(cache):
                stuck += cache.cap if cache.cap >= 0 else UNLIMITED
            else:
                stuck += cache.blocked if cache.cap >= 0 else 0
            waiting += wants.waiting
        free = min(UNLIMITED, free)
        room = state.budget.room()
        return Summary(
            in_flight=-(-admission.in_flight // step) * step,
            free_slots=free if room is None else min(free, room),
            evictable=evictable,
            stuck=stuck,
            coldness=self._coldness(now),
            wants=waiting,
        )

    def _coldness(self, now: float) -> int:
        state = self._state
        found = [entry for cache in state.caches if (entry := self._coldest(cache, now)) is not None]
        if not found:
            return 0
        known = min([standing(state, entry, now) for entry in found], key=state.policy.worth)
        if known.idle_s < OLD_S:
            state.arm(now + max(EVERY_S, known.idle_s))
        return state.policy.coldness(known)

    def _coldest(self, cache: Cache, now: float) -> Entry | None:
        """Return the idle entry of least worth, the longest idle of equals.

        Idle models age alike, so which of two is worth less stays as it is: only those that became idle since the
        last look are compared with the one found then. All are looked at when that one is not idle any more.
        """
        state = self._state
        entries = [cache.coldest, *cache.idled] if cache.coldest is not None else list(cache.idle.values())
        if len(entries) > 1:
            cache.coldest = min(entries, key=lambda entry: state.policy.worth(standing(state, entry, now)))
        elif entries:
            cache.coldest = entries[0]
        cache.idled.clear()
        return cache.coldest
