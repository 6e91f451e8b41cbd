"""What the router reads of the resolved config: the ``http``, ``model_id`` and deployment sections.

They arrive as JSON from the supervisor, complete and checked, so unknown keys are ignored here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from runtime.core.events import SchedulerLimits

MODEL_ID_PATTERN: Final = r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"
HEAD_LIMIT_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 10.0
BODY_IDLE_S: Final = 60.0
KEEP_ALIVE_S: Final = 75
LEAVING_S: Final = 0.5  # a connection that was used so lately is told of the end in its next answer
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024
SWEEP_S: Final = 0.05


class HttpSettings(msgspec.Struct, frozen=True):
    """The public side. Sizes in bytes, times in seconds; None: no limit."""

    request_timeout_s: float | None = None
    max_body_bytes: int | None = 1024**3
    routers: int = 1
    cpu_latency_us: int | None = None
    head_timeout_s: float = HEAD_TIMEOUT_S
    body_idle_s: float = BODY_IDLE_S
    keep_alive_s: float = KEEP_ALIVE_S


class ModelIdSettings(msgspec.Struct, frozen=True):
    """Where a request names its model: a header, else a query parameter, the path, or a field of a JSON body."""

    header: str = "serve_multiplexed_model_id"
    pattern: str = MODEL_ID_PATTERN
    query: str | None = None
    path: str | None = None
    json_field: str | None = None


class DeploymentSettings(msgspec.Struct, frozen=True):
    """The scheduling side of one deployment's config."""

    name: str
    import_path: str | None = None
    load: str = "early"
    max_queued_requests: int = -1
    drain_limit_s: float = 30.0
    request_timeout_s: float | None = None
    max_buffered_body_bytes: int = 64 * 1024**2

    def limits(self) -> SchedulerLimits:
        """The class form (``import_path``) is dispatched although an early load failed: user code may catch it."""
        return SchedulerLimits(
            max_queued_requests=self.max_queued_requests,
            drain_limit_s=self.drain_limit_s,
            load_early=self.load == "early",
            dispatch_failed=self.import_path is not None,
        )


def http_settings(data: dict[str, Any]) -> HttpSettings:
    return msgspec.convert(data, HttpSettings)


def model_id_settings(data: dict[str, Any]) -> ModelIdSettings:
    return msgspec.convert(data, ModelIdSettings)


def deployment_settings(data: dict[str, Any]) -> DeploymentSettings:
    return msgspec.convert(data, DeploymentSettings)
