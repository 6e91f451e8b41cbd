"""A pool of replicas and routers in virtual time: the very state machines of production, with messages between.

Deterministic: one heap of moments, messages in order per link and direction, every duration from a callable that
the caller seeds. With ``check`` the invariants are checked after every single event.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from runtime.core.events import (
    ReplicaLimits,
    SchedulerLimits,
)
from runtime.core.scheduler import Scheduler
from runtime.simulate.bound import Bound
from runtime.simulate.fates import Done, Durations, Outcome, Timing
from runtime.simulate.invariants import check_single_flight, check_work_conserved
from runtime.simulate.longest import Longest
from runtime.simulate.shells import Replica, Router

__all__ = ["Done", "Durations", "Outcome", "Pool", "Timing"]


class Pool:
    """N replicas, R routers, the links between them, and one clock."""

    def __init__(
        self,
        *,
        replicas: int,
        limits: ReplicaLimits,
        queue: SchedulerLimits | None = None,
        routers: int = 1,
        durations: Durations | None = None,
        check: bool = True,
    ) -> None:
        self.limits = limits
        longest = Longest(limits.load_timeout_s)
        self.durations = longest.noted(durations or Durations()) if check else durations or Durations()
        self.check = check
        self.bound = Bound(limits, routers, longest)
        self.now = 0.0
        self.single_flight = True  # checked, where no operator loads a model besides
        self.loads = 0
        self.evictions = 0
        self.events = 0
        self.on_the_way = 0  # messages sent and not arrived, nor lost with their link
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.routers = [
            Router(
                self, number, Scheduler("sim", queue or SchedulerLimits(), router=f"router-{number}", routers=routers)
            )
            for number in range(routers)
        ]
        self.replicas: dict[str, Replica] = {}
        self._born = 0
        for index in range(replicas):
            self.start(index)

    # --- time -------------------------------------------------------------------------------------------

    def at(self, when: float, do: Callable[..., None], *arguments: Any) -> None:
        """Have ``do`` called at ``when``; what is due at one moment goes in the order it was asked for."""
        self._count = count = self._count + 1
        heappush(self._heap, (when if when > self.now else self.now, count, do, arguments))

    def after(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, do, *arguments)

    def run(self, until: float | None = None) -> None:
        """Let time pass until nothing is left to happen, or until ``until``."""
        heap = self._heap
        end = inf if until is None else until
        while heap and heap[0][0] <= end:
            self.now, _, do, arguments = heappop(heap)
            do(*arguments)
        if until is not None:
            self.now = max(self.now, until)

    # --- what happens to it -----------------------------------------------------------------------------

    def start(self, index: int) -> str:
        """Start a replica; it connects to every router. Returns its id."""
        self._born += 1
        replica = Replica(self, f"r{index}.{self._born}", index)
        self.bound.restart(self.now)
        self.replicas[replica.id] = replica
        for router in self.routers:
            replica.connect(router)
        return replica.id

    def kill(self, replica: str) -> None:
        """End a replica without a word; the routers notice by the link."""
        self.replicas.pop(replica).die()
        self.bound.restart(self.now)

    def submit(self, model: str | None, done: Done, *, router: int = 0, safe: bool = True) -> int:
        """Send a request; ``done`` is called with its outcome. ``safe``: it may be tried again after a death."""
        return self.routers[router].submit(model, done, safe=safe)

    def cancel(self, request: int, *, router: int = 0) -> None:
        """Have the client of a request leave."""
        self.routers[router].cancel(request)

    def checked(self) -> None:
        """Check what holds for the pool as a whole."""
        if self.check and self.single_flight:
            up = self.routers[0].scheduler.state.pool.by_id
            check_single_flight(
                (replica.residency for id, replica in self.replicas.items() if id in up and not up[id].draining),
                len(self.routers),
            )
        quiet = not self.on_the_way and not any(replica.residency.state.dirty for replica in self.replicas.values())
        if self.check and quiet:
            check_work_conserved((router.scheduler for router in self.routers), self.replicas)
