"""The project at a glance, for ``GET /v1/status``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from runtime.project import Project
from runtime.supervisor.api import DeploymentStatus, ProjectStatus, ReplicaStatus, RouterStatus
from runtime.supervisor.desired import Desired
from runtime.supervisor.pool import Pool
from runtime.supervisor.ports import Address, PublicSockets
from runtime.supervisor.questions import ReplicaFigures, RouterFigures, status_of
from runtime.supervisor.rollouts import Rollouts, Trouble
from runtime.supervisor.worker import Worker

FIGURES_TIMEOUT_S: Final = 0.5  # a child that is busy for longer is shown without its figures

_WORST_LAST: Final = ("ready", "starting", "degraded", "failed")


class StatusReport:
    """Puts together what the supervisor knows and what the children say."""

    def __init__(
        self, project: Project, pool: Pool, sockets: PublicSockets, rollouts: Rollouts, going_down: Callable[[], bool]
    ) -> None:
        self._project = project
        self._pool = pool
        self._sockets = sockets
        self._rollouts = rollouts
        self._going_down = going_down
        self._started_at = time.monotonic()

    async def make(self) -> ProjectStatus:
        """Return the status now."""
        workers = [one for one in self._pool.workers if one.phase != "stopped"]
        replica_figures, router_figures = await status_of(workers, FIGURES_TIMEOUT_S)
        desired = self._pool.desired
        deployments = _deployments(desired, workers, self._rollouts.troubles, router_figures.values())
        states = [one.state for one in deployments] + [_router_state(one) for one in workers if one.role == "router"]
        return ProjectStatus(
            name=self._project.name,
            config_path=str(self._project.config_path),
            generation=desired.generation if desired else 0,
            state="stopping" if self._going_down() else max(states, key=_WORST_LAST.index, default="starting"),
            url=self._sockets.url(Address.of(desired.config.http)) if desired else "",
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._started_at,
            deployments=deployments,
            replicas=[_replica(one, replica_figures) for one in _sorted(workers) if one.role == "replica"],
            routers=[_router(one, router_figures) for one in _sorted(workers) if one.role == "router"],
        )


def _sorted(workers: Iterable[Worker]) -> list[Worker]:
    return sorted(workers, key=lambda one: (one.slot.deployment, one.slot.index, one.started_at))


def _router_state(worker: Worker) -> str:
    return {"ready": "ready", "failed": "failed", "draining": "ready"}.get(worker.phase, "starting")


def _deployments(
    desired: Desired | None,
    workers: list[Worker],
    troubles: dict[str, Trouble],
    routers: Iterable[RouterFigures],
) -> list[DeploymentStatus]:
    if desired is None:
        return []
    queued = list(routers)
    return [
        _deployment(
            desired,
            name,
            [one for one in workers if one.slot.deployment == name],
            troubles.get(name),
            sum(one.queued.get(name, 0) for one in queued),
        )
        for name in desired.by_name
    ]


def _deployment(
    desired: Desired, name: str, workers: list[Worker], trouble: Trouble | None, queued: int
) -> DeploymentStatus:
    config, want = desired.deployment(name), desired.count(name)
    ready = sum(one.phase == "ready" and not one.condemned for one in workers)
    failed = next((one for one in workers if one.phase == "failed" or (one.phase == "backoff" and one.failure)), None)
    coming = next((one for one in workers if one.phase in ("starting", "connecting", "backoff")), None)
    if ready >= want:
        state = "ready"
    elif failed is not None:
        state = "degraded" if ready else "failed"
    else:
        state = "degraded" if ready and coming and coming.phase == "backoff" else "starting"
    spokesman = failed or (coming if ready < want else None)
    return DeploymentStatus(
        name=name,
        application=config.application,
        route_prefix=config.route_prefix,
        state=state,
        want=want,
        ready=ready,
        scaled=name in desired.scaled,
        queued=queued,
        message=spokesman.message if spokesman else trouble.message if trouble else "",
        traceback=failed.traceback if failed else trouble.traceback if trouble else "",
    )


def _replica(worker: Worker, figures: dict[str, ReplicaFigures]) -> ReplicaStatus:
    own = figures.get(worker.id, ReplicaFigures())
    return ReplicaStatus(
        id=worker.name,
        deployment=worker.slot.deployment,
        index=worker.slot.index,
        pid=_pid(worker),
        state=_state(worker),
        restarts=worker.restarts,
        uptime_s=_uptime_s(worker),
        rss_bytes=_rss_bytes(worker),
        in_flight=own.in_flight,
        queued=own.queued,
        models=own.models,
        slots=own.slots,
        message=worker.message,
    )


def _router(worker: Worker, figures: dict[str, RouterFigures]) -> RouterStatus:
    return RouterStatus(
        id=worker.name,
        pid=_pid(worker),
        state=_state(worker),
        restarts=worker.restarts,
        uptime_s=_uptime_s(worker),
        rss_bytes=_rss_bytes(worker),
        requests=figures.get(worker.id, RouterFigures()).requests,
        message=worker.message,
    )


def _state(worker: Worker) -> str:
    if worker.phase == "connecting":
        return "starting"
    if worker.phase == "ready" and worker.condemned:
        return "draining"
    return "suspect" if worker.suspect and worker.phase == "ready" else worker.phase


def _pid(worker: Worker) -> int | None:
    return worker.process.pid if worker.process is not None and worker.alive else None


def _uptime_s(worker: Worker) -> float:
    return time.monotonic() - worker.started_at if worker.alive else 0.0


def _rss_bytes(worker: Worker) -> int:
    pid = _pid(worker)
    if pid is None:
        return 0
    import psutil  # the first child was spawned long ago: it is loaded

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0
