"""The invariants of the brain as executable checks, for property tests and for every step of the simulator.

``check_residency`` and ``check_scheduler`` compare what a state machine keeps with what can be computed anew;
``ResidencyWatch`` and ``SchedulerWatch`` follow events and effects and hold what must be true of the whole history.
"""

from __future__ import annotations

from runtime.simulate.invariants_pool import check_single_flight, check_work_conserved
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
    "check_work_conserved",
    "leftover",
    "require",
    "residue",
]
