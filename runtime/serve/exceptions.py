"""What serving and calling raise, under Ray Serve's names where it has one: ``from runtime.serve.exceptions import …``.

The whole tree is ``runtime.errors``.
"""

from __future__ import annotations

from runtime.errors import (
    CallCancelled,
    CallCycle,
    CallTimeout,
    ModelLoadFailed,
    ModelNotFound,
    MuxError,
    QueueFull,
    ReplicaDied,
    Unavailable,
)
from runtime.serve.failures import RemoteError

RayServeException = MuxError
BackPressureError = QueueFull
RequestCancelledError = CallCancelled
DeploymentUnavailableError = Unavailable
ReplicaUnavailableError = ReplicaDied

__all__ = [
    "BackPressureError",
    "CallCancelled",
    "CallCycle",
    "CallTimeout",
    "DeploymentUnavailableError",
    "ModelLoadFailed",
    "ModelNotFound",
    "MuxError",
    "QueueFull",
    "RayServeException",
    "RemoteError",
    "ReplicaDied",
    "ReplicaUnavailableError",
    "RequestCancelledError",
    "Unavailable",
]
