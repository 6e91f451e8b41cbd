"""The invariants of the brain as executable checks, for property tests and for every step of the simulator.

``check_residency`` and ``check_scheduler`` compare what a state machine keeps with what can be computed anew;
``ResidencyWatch`` and ``SchedulerWatch`` follow events and effects and hold what must be true of the whole history.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.core.residency import Residency
from runtime.simulate.invariants_replica import ResidencyWatch, check_residency, residue
from runtime.simulate.invariants_router import SchedulerWatch, check_scheduler, leftover
from runtime.simulate.rule import InvariantBroken, require

__all__ = [
    "InvariantBroken",
    "ResidencyWatch",
    "SchedulerWatch",
    "check_residency",
    "check_scheduler",
    "check_single_flight",
    "leftover",
    "require",
    "residue",
]


def check_single_flight(replicas: Iterable[Residency], routers: int = 1) -> None:
    """Check that routers have no model loading more often than it is resident, or once.

    Each further router may have begun one load that the first had not heard of when it began its own. Loads that the
    config, an operator or user code asked a replica for are not the routers' to coordinate.
    """
    loading: dict[str, int] = {}
    states = [residency.state for residency in replicas]
    for state in states:
        for cache, wants in zip(state.caches, state.wants, strict=True):
            if not cache.count["loading"]:
                continue
            for model, want in wants.by_model.items():
                if want.loading and want.preload is None and want.links:
                    loading[model] = loading.get(model, 0) + 1
    for model, count in loading.items():
        if count > 1:
            held = [cache.entries[model].state for s in states for cache in s.caches if model in cache.entries]
            resident = held.count("resident") + held.count("draining")
            require(count < max(1, resident) + routers, "one load per model, or per copy", (model, count))
