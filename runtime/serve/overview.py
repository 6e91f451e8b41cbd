"""What ``serve.status()`` returns: Ray Serve's shape and words, read from the supervisor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runtime.supervisor.api import DeploymentStatus, ProjectStatus, ReplicaStatus

_DEPLOYMENT: Final = {"ready": "HEALTHY", "starting": "UPDATING", "degraded": "UNHEALTHY", "failed": "DEPLOY_FAILED"}
_REPLICA: Final = {"ready": "RUNNING", "draining": "STOPPING", "suspect": "RUNNING"}
_ROUTER: Final = {"ready": "HEALTHY", "starting": "STARTING"}


@dataclass(frozen=True, slots=True)
class DeploymentStatusOverview:
    """``status``: HEALTHY, UPDATING, UNHEALTHY or DEPLOY_FAILED; ``replica_states``: how many are RUNNING, ..."""

    status: str
    replica_states: Mapping[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class ApplicationStatusOverview:
    """``status``: RUNNING, DEPLOYING, UNHEALTHY or DEPLOY_FAILED."""

    status: str
    deployments: Mapping[str, DeploymentStatusOverview]
    message: str = ""


@dataclass(frozen=True, slots=True)
class ServeStatus:
    """Everything that runs. ``proxies``: the routers, by name. Empty where nothing runs."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    applications: Mapping[str, ApplicationStatusOverview] = field(default_factory=dict)
    url: str = ""


def from_project(status: ProjectStatus) -> ServeStatus:
    """Translate the supervisor's status."""
    by_app: dict[str, list[DeploymentStatus]] = {}
    for deployment in status.deployments:
        by_app.setdefault(deployment.application, []).append(deployment)
    return ServeStatus(
        proxies={router.id: _ROUTER.get(router.state, "UNHEALTHY") for router in status.routers},
        applications={name: _application(own, status.replicas) for name, own in by_app.items()},
        url=status.url,
    )


def _application(own: list[DeploymentStatus], replicas: list[ReplicaStatus]) -> ApplicationStatusOverview:
    deployments = {deployment.name: _deployment(deployment, replicas) for deployment in own}
    states = {overview.status for overview in deployments.values()}
    if "DEPLOY_FAILED" in states:
        status = "DEPLOY_FAILED"
    elif "UPDATING" in states:
        status = "DEPLOYING"
    else:
        status = "UNHEALTHY" if "UNHEALTHY" in states else "RUNNING"
    message = "; ".join(f"{name}: {one.message}" for name, one in deployments.items() if one.message)
    return ApplicationStatusOverview(status, deployments, message)


def _deployment(deployment: DeploymentStatus, replicas: list[ReplicaStatus]) -> DeploymentStatusOverview:
    own = [replica for replica in replicas if replica.deployment == deployment.name]
    states = Counter(_REPLICA.get(replica.state, "STARTING") for replica in own)
    status = _DEPLOYMENT.get(deployment.state, "UPDATING")
    return DeploymentStatusOverview(status, dict(states), deployment.message)
