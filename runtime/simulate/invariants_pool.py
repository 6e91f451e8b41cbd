"""What must hold for a pool as a whole: at every step, and once every message has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runtime.core.demands import MOVES
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.simulate.rule import broken, require

if TYPE_CHECKING:
    from runtime.simulate.shells import Replica


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


def check_work_conserved(schedulers: Iterable[Scheduler], replicas: Mapping[str, Replica]) -> None:
    """Check that no cold want waits at one replica while another could start it and serve it at once.

    To call while no message is on its way and every summary has been sent. A model whose cleanup runs where it is
    wanted again waits for that, one goes back to where it failed only if nothing else is left, and one that has moved
    often enough stays in its turn.
    """
    idle = [id for id, replica in replicas.items() if _could_start(replica.residency)]
    if not idle:
        return
    for scheduler in schedulers:
        state = scheduler.state
        for model in state.waiting:
            bid = model.demand.cold if model.demand is not None else None
            if bid is None or model.holders or model.loading or bid.view.id not in replicas:
                continue
            if model.demand is not None and model.demand.moves >= MOVES:
                continue
            if model.name in replicas[bid.view.id].residency.state.caches[0].entries:
                continue
            never = bid.view.bit | state.failures.where(model.name)
            for view in (state.pool.by_id[id] for id in idle if id in state.pool.by_id):
                if not (view.draining or view.bit & never):
                    broken("no cold want waits beside a free slot, permit and place", (model, bid.view, view))


def _could_start(residency: Residency) -> bool:
    """Return whether one more load would start at once here, without a victim, and its request be served."""
    state = residency.state
    if len(state.caches) != 1 or state.stopping or state.budget.limit is not None:
        return False
    permits = state.limits.max_concurrent_loads - state.loading
    places = state.admission.places - state.admission.in_flight
    return state.caches[0].free > 0 and not state.wants[0].waiting and permits > 0 < places and not state.admission.busy
