"""A project as its supervisor would describe it."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.supervisor.api import DeploymentStatus, ModelInfo, ProjectStatus, ReplicaStatus, RouterStatus


def project_status(**changes: Any) -> ProjectStatus:
    status = ProjectStatus(
        name="shop",
        config_path="/home/me/shop/mux.yaml",
        generation=3,
        state="ready",
        url="http://127.0.0.1:8000",
        pid=100,
        uptime_s=192.0,
        deployments=[
            DeploymentStatus(
                name="Model",
                application="default",
                route_prefix="/",
                state="ready",
                want=2,
                ready=2,
                scaled=True,
                queued=4,
            )
        ],
        replicas=[
            ReplicaStatus(
                id="Model#EjYmnQ",
                deployment="Model",
                index=0,
                pid=101,
                state="ready",
                uptime_s=192.0,
                rss_bytes=81 << 20,
                in_flight=2,
                models=["1", "[red]2[/red]"],
                slots=3,
            ),
            ReplicaStatus(id="Model#aB12Cd", deployment="Model", index=1, pid=None, state="backoff", restarts=7),
        ],
        routers=[RouterStatus(id="router-0", pid=102, state="ready", requests=1234)],
    )
    return msgspec.structs.replace(status, **changes)


def model_infos() -> list[ModelInfo]:
    return [
        ModelInfo(model="1", deployment="Model", replica="Model#EjYmnQ", pinned=True, uses=12, load_s=0.8, idle_s=61.0),
        ModelInfo(model="2", deployment="Model", replica="Model#EjYmnQ", leases=2, size_bytes=4096),
        ModelInfo(model="9", deployment="Model", state="waiting", waiting=5, error="it is large"),
    ]
