"""The supervisor's control API: JSON over HTTP on the project's 0600 Unix socket. Shapes only.

| verb and path | body | answer |
|---|---|---|
| GET /v1/status | | ``ProjectStatus`` |
| POST /v1/apply | ``ApplyRequest`` | NDJSON of ``Event``; the last has kind ``done`` or ``failed`` |
| POST /v1/wait | ``WaitRequest`` | NDJSON of ``Event``, as apply |
| POST /v1/scale | ``ScaleRequest`` | NDJSON of ``Event`` |
| POST /v1/restart | ``RestartRequest`` | NDJSON of ``Event`` (rolling; one replica at a time) |
| POST /v1/down | ``DownRequest`` | NDJSON of ``Event``; the supervisor exits after ``done`` |
| GET /v1/models | ?deployment= | ``ModelsAnswer`` |
| POST /v1/models/{load,unload,pin,unpin} | ``ModelRequest`` | ``ModelsAnswer`` of what changed |
| GET /v1/explain | ?request_id= or ?model= | ``ExplainAnswer`` |

An error is ``{"error": code, "message", "hint"}`` with the status of ``runtime.errors``.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ReplicaStatus(msgspec.Struct, kw_only=True):
    """``state``: starting, ready, draining, suspect, backoff, failed or stopped."""

    id: str
    deployment: str
    index: int
    pid: int | None
    state: str
    restarts: int = 0
    uptime_s: float = 0.0
    rss_bytes: int = 0
    in_flight: int = 0
    queued: int = 0
    models: list[str] = []
    slots: int = 0
    message: str = ""


class RouterStatus(msgspec.Struct, kw_only=True):
    id: str
    pid: int | None
    state: str
    restarts: int = 0
    uptime_s: float = 0.0
    rss_bytes: int = 0
    requests: int = 0
    message: str = ""


class DeploymentStatus(msgspec.Struct, kw_only=True):
    """``state``: ready, starting, degraded, failed. ``scaled``: the count was set by hand."""

    name: str
    application: str
    route_prefix: str | None
    state: str
    want: int
    ready: int
    scaled: bool = False
    queued: int = 0
    message: str = ""
    traceback: str = ""


class ProjectStatus(msgspec.Struct, kw_only=True):
    name: str
    config_path: str
    generation: int
    state: str
    url: str
    pid: int
    uptime_s: float
    deployments: list[DeploymentStatus]
    replicas: list[ReplicaStatus]
    routers: list[RouterStatus]


class ApplyRequest(msgspec.Struct, kw_only=True):
    """``config``: ``runtime.config.models.Config`` as JSON, ``${VAR}`` resolved by the deploying shell.

    ``env``: a snapshot of that shell's environment. ``digests``: file name → digest of the code that the import
    paths name, per deployment, so that an edited module counts as a change. ``owner``: the process that the project
    ends with, as the script of ``serve.run``; 0: it outlives whoever deploys it.
    """

    config: dict[str, Any]
    env: dict[str, str]
    digests: dict[str, dict[str, str]]
    dry_run: bool = False
    wait: bool = True
    timeout_s: float | None = None
    owner: int = 0


class WaitRequest(msgspec.Struct, kw_only=True):
    timeout_s: float | None = None


class ScaleRequest(msgspec.Struct, kw_only=True):
    replicas: dict[str, int]
    wait: bool = True


class RestartRequest(msgspec.Struct, kw_only=True):
    deployments: list[str] = []  # empty: all
    wait: bool = True


class DownRequest(msgspec.Struct, kw_only=True):
    timeout_s: float | None = None


class ModelRequest(msgspec.Struct, kw_only=True):
    models: list[str]
    deployment: str = ""  # empty: the only one
    replica: str = ""  # empty: load where the scheduler's ranking says; unload, pin, unpin everywhere


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of progress. ``kind``: plan, start, progress, ready, stop, stopped, restart, warn, done, failed.

    ``plan`` carries ``changes``: [{"sign": "+"|"~"|"-", "what": "Model", "why": "max_ongoing_requests 5 → 8"}].
    ``failed`` carries ``code`` (of ``runtime.errors``), ``message``, ``hint`` and the user's ``traceback``.
    """

    kind: str
    message: str = ""
    process: str = ""
    deployment: str = ""
    fraction: float | None = None
    changes: list[dict[str, str]] = []
    code: str = ""
    hint: str = ""
    traceback: str = ""
    status: ProjectStatus | None = None


class ModelInfo(msgspec.Struct, kw_only=True):
    """One model on one replica (``replica`` empty: waiting in the router, nowhere yet)."""

    model: str
    deployment: str
    replica: str = ""
    state: str = "resident"
    pinned: bool = False
    leases: int = 0
    waiting: int = 0
    uses: int = 0
    load_s: float = 0.0
    size_bytes: int = 0
    idle_s: float | None = None
    error: str = ""


class ModelsAnswer(msgspec.Struct, kw_only=True):
    models: list[ModelInfo]


class ExplainAnswer(msgspec.Struct, kw_only=True):
    """``lines``: the story in words, oldest first; ``records``: the recorded decisions."""

    lines: list[str]
    records: list[dict[str, Any]] = []
