"""Every pool of the router and its replicas, as the supervisor's last table says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.core.scheduler import Scheduler
from runtime.errors import Draining, NoSuchThing
from runtime.link.endpoint import connect
from runtime.router.pool import Brain, Pool
from runtime.router.replica import Connect, OpenCall, Replica
from runtime.router.routes import Route, Routes
from runtime.router.settings import DeploymentSettings, deployment_settings

if TYPE_CHECKING:
    from runtime.link.control import ReplicaEntry, RouteEntry, Table
    from runtime.observe.logs import LogWriter

MakeScheduler = Callable[[DeploymentSettings], Brain]


class Fleet:
    """Applies tables; the truth about what runs where."""

    def __init__(
        self,
        router: str,
        log: LogWriter,
        open_call: OpenCall,
        *,
        routers: int = 1,
        connect: Connect = connect,
        make_scheduler: MakeScheduler | None = None,
    ) -> None:
        self.pools: dict[str, Pool] = {}
        self.replicas: dict[str, Replica] = {}
        self.routes = Routes([])
        self.generation = 0  # of the last table; 0: none yet
        self._router = router
        self._routers = routers
        self._log = log
        self._open_call = open_call
        self._connect = connect
        self._make_scheduler = make_scheduler or self._scheduler
        self._retired: list[Replica] = []

    def apply(self, table: Table) -> list[Replica]:
        """Make the table true; return the replicas that have to be connected before it is."""
        self.generation = table.generation
        self._apply_pools(table.routes)
        wanted = {entry.id: entry for entry in table.replicas if entry.deployment in self.pools}
        for name in [name for name in self.replicas if name not in wanted]:
            self._retire(self.replicas[name])
        for entry in wanted.values():
            self._apply_replica(entry)
        self.routes = Routes(
            [Route(r.route_prefix, self.pools[r.name]) for r in table.routes if r.route_prefix is not None]
        )
        return [self.replicas[entry.id] for entry in wanted.values() if entry.state == "up"]

    def pool(self, name: str = "") -> Pool:
        """Return the pool of a deployment; of the only one if no name is given. Raises ``NoSuchThing``."""
        if not name and len(self.pools) == 1:
            return next(iter(self.pools.values()))
        pool = self.pools.get(name)
        if pool is None:
            known = ", ".join(self.pools) or "none"
            what = f"there is no deployment {name!r}" if name else "name a deployment"
            raise NoSuchThing(f"{what}; there are: {known}")
        return pool

    def stalled(self) -> str:
        """Return why some scheduler makes no progress, "" if all do."""
        return next((why for pool in self.pools.values() if (why := pool.stalled())), "")

    @property
    def handled(self) -> int:
        """How many requests and calls the deployments were sent; fewer once one of them has gone."""
        return sum(pool.tally.handled for pool in self.pools.values())

    def collect(self) -> None:
        """Close the links of replicas that have left the table, once nothing runs on them."""
        self._retired = [replica for replica in self._retired if not replica.close_if_idle()]

    async def close(self, why: str) -> None:
        """Close every link; what still runs on them is lost."""
        replicas = [*self.replicas.values(), *self._retired]
        self.replicas.clear()
        self._retired.clear()
        await asyncio.gather(*(replica.stop(why) for replica in replicas))
        for pool in self.pools.values():
            pool.close()

    def _apply_pools(self, routes: list[RouteEntry]) -> None:
        for route in routes:
            settings = deployment_settings({**route.deployment, "name": route.name})
            pool = self.pools.get(route.name)
            if pool is None:
                scheduler = self._make_scheduler(settings)
                self.pools[route.name] = Pool(settings, route.application, scheduler, self._log)
            else:
                pool.change_limits(settings)
        named = {route.name for route in routes}
        for name in [name for name in self.pools if name not in named]:
            pool = self.pools.pop(name)
            pool.abandon(Draining(f"the deployment {name} has been removed"))

    def _apply_replica(self, entry: ReplicaEntry) -> None:
        replica = self.replicas.get(entry.id)
        pool = self.pools[entry.deployment]
        if replica is None:
            replica = Replica(entry, pool, self._router, self._connect, self._open_call, self._log)
            self.replicas[entry.id] = pool.replicas[entry.id] = replica
            replica.start()
            return
        before, replica.entry = replica.entry.state, entry
        if entry.state == before:
            return
        if entry.state == "draining":
            replica.drain()
        elif entry.state == "suspect":
            replica.suspect()
        else:
            replica.trust()

    def _retire(self, replica: Replica) -> None:
        del self.replicas[replica.entry.id]
        replica.retire()
        self._retired.append(replica)

    def _scheduler(self, settings: DeploymentSettings) -> Brain:
        return Scheduler(settings.name, settings.limits(), router=self._router, routers=self._routers)
