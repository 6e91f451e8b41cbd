"""Who the routers shall know: one table for all, told again whenever it changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from runtime.config.models import Deployment
from runtime.link.control import ReplicaEntry, RouteEntry, Table
from runtime.supervisor.desired import Desired
from runtime.supervisor.worker import Worker

NOT_FOR_ROUTERS: Final = ("user_config", "env", "s3")  # the replicas' alone, and what may be secret is in them


class Tables:
    """The current table. ``generation`` counts tables, not configs."""

    def __init__(self) -> None:
        self.current = Table(generation=0, routes=[], replicas=[])

    @property
    def generation(self) -> int:
        return self.current.generation

    def update(self, desired: Desired | None, replicas: Iterable[Worker], staying: Sequence[Deployment] = ()) -> bool:
        """Make the table tell the truth; return whether that changed it. Marks replicas that are new in it.

        ``staying`` are deployments on their way out that keep their routes until what comes after them stands.
        Where nothing is desired any more, the routes stay: routers that drain still answer what reaches them.
        """
        routes = self.current.routes if desired is None else _routes(desired, staying)
        workers = [worker for worker in replicas if worker.ready_at is not None and worker.alive]
        entries = [_entry(worker) for worker in workers]
        if (routes, entries) == (self.current.routes, self.current.replicas):
            return False
        self.current = Table(generation=self.generation + 1, routes=routes, replicas=entries)
        for worker in workers:
            worker.table = worker.table or self.generation
        return True


def _routes(desired: Desired, staying: Sequence[Deployment]) -> list[RouteEntry]:
    taken = {deployment.route_prefix for deployment in staying}
    coming = [desired.deployment(name) for name in desired.by_name]
    return [
        *[_route(one, None if one.route_prefix in taken else one.route_prefix) for one in coming],
        *[_route(one, one.route_prefix) for one in staying],
    ]


def _route(deployment: Deployment, route_prefix: str | None) -> RouteEntry:
    return RouteEntry(
        name=deployment.name,
        application=deployment.application,
        route_prefix=route_prefix,
        deployment=deployment.model_dump(mode="json", exclude=set(NOT_FOR_ROUTERS)),
    )


def _entry(worker: Worker) -> ReplicaEntry:
    draining = worker.phase == "draining" or worker.condemned
    return ReplicaEntry(
        id=worker.name,
        deployment=worker.slot.deployment,
        index=worker.slot.index,
        address=worker.spec.address,
        token=worker.spec.token,
        state="draining" if draining else "suspect" if worker.suspect else "up",
    )
