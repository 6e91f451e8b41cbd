"""What the router can tell and do beside serving: figures, models, verbs, explanations. For HTTP and control alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import BadRequest, NoReplicas, NoSuchThing

if TYPE_CHECKING:
    from runtime.router.desk import Desk
    from runtime.router.fleet import Fleet
    from runtime.router.model_ids import ModelIds
    from runtime.router.pool import Pool
    from runtime.router.replica import Replica

VERBS: Final = ("load", "unload", "pin", "unpin")
Info = dict[str, Any]


class Overview:
    """Answers the supervisor's queries and the endpoints below ``/-/``."""

    def __init__(self, router: str, fleet: Fleet, desk: Desk, models: ModelIds) -> None:
        self._router = router
        self._fleet = fleet
        self._desk = desk
        self._models = models

    async def query(self, what: str, args: dict[str, Any]) -> Info:
        """Answer a query by name. Raises ``NoSuchThing``, ``BadRequest`` or what a replica refused with."""
        if what == "status":
            return self.status()
        if what == "models":
            return {"models": self.models(str(args.get("deployment", "")))}
        if what == "explain":
            return self.explain(str(args.get("request_id", "")), str(args.get("model", "")))
        if what in VERBS:
            deployment, replica = str(args.get("deployment", "")), str(args.get("replica", ""))
            return {"models": await self.change(what, _names(args.get("models")), deployment, replica)}
        raise NoSuchThing(f"a router cannot answer {what!r}")

    def status(self) -> Info:
        """Return how many requests were answered, and how many wait per deployment."""
        queued = {name: pool.queued for name, pool in self._fleet.pools.items()}
        return {"requests": self._desk.requests, "queued": queued, "stalled": self._fleet.stalled()}

    def routes(self) -> dict[str, str]:
        return {route.prefix: route.pool.name for route in self._fleet.routes.all}

    def models(self, deployment: str = "") -> list[Info]:
        """Return what replicas have published, and the models that requests wait for."""
        pools = [self._fleet.pool(deployment)] if deployment else list(self._fleet.pools.values())
        return [info for pool in pools for info in self._models_of(pool)]

    def explain(self, request_id: str, model: str) -> Info:
        """Return the recorded decisions about a request or a model, in words and as records."""
        journals = [pool.journal for pool in self._fleet.pools.values()]
        records = [r for j in journals for r in j.records(self._router, request_id=request_id, model=model)]
        return {"lines": [record["line"] for record in records], "records": records}

    async def change(self, verb: str, models: list[str], deployment: str, replica: str) -> list[Info]:
        """Load, unload, pin or unpin. ``replica`` empty: load at the best place, the others everywhere."""
        pool = self._fleet.pool(deployment)
        for model in models:
            self._models.check(model.encode())
        work = [self._ask(target, verb, m) for m in models for target in _targets(pool, verb, m, replica)]
        return [info for infos in await asyncio.gather(*work) for info in infos]

    async def _ask(self, target: Replica, verb: str, model: str) -> list[Info]:
        data = await target.ask(verb, model)
        if isinstance(data, dict) and isinstance(data.get("models"), list):
            return list(data["models"])
        status = target.models.get(model)
        return [_info(target, status)] if status is not None else []

    def _models_of(self, pool: Pool) -> list[Info]:
        infos = [_info(replica, status) for replica in pool.replicas.values() for status in replica.models.values()]
        waiting: dict[str, int] = {}
        for job in pool.jobs.values():
            if job.stream is None and job.model:
                waiting[job.model] = waiting.get(job.model, 0) + 1
        return infos + [
            {"model": model, "deployment": pool.name, "replica": "", "state": "waiting", "waiting": count}
            for model, count in waiting.items()
        ]


def _info(replica: Replica, status: Any) -> Info:
    return {
        "model": status.model,
        "deployment": replica.pool.name,
        "replica": replica.entry.id,
        "state": status.state,
        "load_s": status.load_s,
        "size_bytes": status.size_bytes,
        "error": status.failure.message if status.failure is not None else "",
    }


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise BadRequest("name the models: a list of ids")
    return value


def _targets(pool: Pool, verb: str, model: str, named: str) -> list[Replica]:
    """Return who is asked. A load goes to a holder, else where there is room, else where models are coldest."""
    up = [replica for replica in pool.replicas.values() if replica.link is not None and not replica.retired]
    if named:
        found = [replica for replica in up if named in (replica.entry.id, replica.entry.id.rpartition("#")[2])]
        if not found:
            raise NoSuchThing(f"there is no connected replica {named!r} of {pool.name}")
        return found
    if not up:
        raise NoReplicas(f"no replica of {pool.name} is connected")
    if verb != "load":
        return up
    return [min(up, key=lambda r: _reluctance(r, model))]


def _reluctance(replica: Replica, model: str) -> tuple[bool, bool, int, int, int]:
    status, summary = replica.models.get(model), replica.summary
    held = status is not None and status.state in ("resident", "loading", "fetching")
    return (not held, summary.free_slots == 0, -summary.coldness, summary.wants, replica.entry.index)
