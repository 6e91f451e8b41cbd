"""What serving and calling raise, under Ray Serve's names where it has one: ``from runtime.serve.exceptions import …``.

The whole tree is ``runtime.errors``.
"""

from __future__ import annotations

from runtime.errors import (
    CallCancelled,
    CallCycle,
    CallTimeout,
    ConfigError,
    ModelLoadFailed,
    ModelNotFound,
    MuxError,
    NotRunning,
    PortInUse,
    QueueFull,
    ReplicaDied,
    StartError,
    Unavailable,
    UserCodeError,
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
    "ConfigError",
    "DeploymentUnavailableError",
    "ModelLoadFailed",
    "ModelNotFound",
    "MuxError",
    "NotRunning",
    "PortInUse",
    "QueueFull",
    "RayServeException",
    "RemoteError",
    "ReplicaDied",
    "ReplicaUnavailableError",
    "RequestCancelledError",
    "StartError",
    "Unavailable",
    "UserCodeError",
]
