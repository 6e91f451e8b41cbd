"""When each slot's child is started again: the memory behind ``core.restart``."""

from __future__ import annotations

from collections.abc import Callable, Collection

from runtime.core.restart import RestartPolicy
from runtime.core.rollout import Slot
from runtime.supervisor.worker import Worker


class Restarts:
    """One policy for each desired slot, for as long as it is desired."""

    def __init__(self, policy: Callable[[], RestartPolicy], clock: Callable[[], float]) -> None:
        self._new_policy = policy
        self._clock = clock
        self._policies: dict[Slot, RestartPolicy] = {}
        self._desired: frozenset[Slot] = frozenset()

    def aim(self, slots: Collection[Slot], held: Collection[Slot] = ()) -> None:
        """Set which slots are desired. What is known of others is forgotten, unless a child still holds them.

        A rollout that fails makes them desired again.
        """
        self._desired = frozenset(slots)
        kept = self._desired | frozenset(held)
        self._policies = {slot: one for slot, one in self._policies.items() if slot in kept}

    def wants(self, slot: Slot) -> bool:
        """Return whether a child that dies in ``slot`` shall have a successor."""
        return slot in self._desired

    def forget(self, slot: Slot) -> None:
        """Start from scratch with a slot that was given up."""
        self._policies.pop(slot, None)

    def started(self, worker: Worker) -> None:
        """Note a start; tells the worker how often its slot was restarted before."""
        policy = self._policy(worker.slot)
        policy.started(self._clock())
        worker.restarts = policy.restarts

    def ready(self, worker: Worker) -> None:
        """Note that a child is ready."""
        self._policy(worker.slot).ready(self._clock())

    def died(self, worker: Worker) -> float | None:
        """Return the seconds until the next start, or None to give up."""
        return self._policy(worker.slot).died(self._clock(), worker.failure is not None)

    def _policy(self, slot: Slot) -> RestartPolicy:
        return self._policies.setdefault(slot, self._new_policy())
