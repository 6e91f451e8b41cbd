"""What a replica publishes of its load: quantised, and at most every 10 ms."""

from __future__ import annotations

from math import inf

from runtime.core.events import ResidencyEffect, Summarise, Summary
from runtime.core.making_room import standing
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import UNLIMITED

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
        self._state.dirty = False
        summary = self.summary(now)
        if summary != self._sent:
            self._sent = summary
            self.due = now + EVERY_S
            out.append(Summarise(summary, case=271))

    def summary(self, now: float) -> Summary:
        state = self._state
        admission = state.admission
        step = max(1, admission.places // STEPS)
        free = min(UNLIMITED, sum(max(0, cache.free) for cache in state.caches))
        room = state.budget.room()
        return Summary(
            in_flight=-(-admission.in_flight // step) * step,
            free_slots=free if room is None else min(free, room),
            evictable=sum(len(cache.idle) for cache in state.caches),
            stuck=sum(cache.blocked for cache in state.caches if cache.cap >= 0),
            coldness=self._coldness(now),
            wants=sum(wants.waiting for wants in state.wants),
        )

    def _coldness(self, now: float) -> int:
        state = self._state
        policy = state.policy
        best: tuple[tuple[float, ...], int, float] | None = None
        for cache in state.caches:
            for entry in cache.idle.values():
                known = standing(state, entry, now)
                worth = policy.worth(known)
                if best is None or worth < best[0]:
                    best = (worth, policy.coldness(known), known.idle_s)
        if best is None:
            return 0
        if best[2] < OLD_S:
            state.arm(now + max(EVERY_S, best[2]))
        return best[1]
