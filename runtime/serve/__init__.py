"""What user code imports: ``from runtime import serve``. Ray Serve's names, with the same meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.serve.api import (
    delete,
    get_app_handle,
    get_deployment_handle,
    run,
    shutdown,
    shutdown_async,
    start,
    status,
)
from runtime.serve.application import Application
from runtime.serve.batching import batch
from runtime.serve.context import ReplicaContext, get_multiplexed_model_id, get_replica_context
from runtime.serve.deployment import Deployment, deployment
from runtime.serve.ingress import ingress
from runtime.serve.multiplexed import multiplexed
from runtime.serve.overview import ServeStatus

if TYPE_CHECKING:
    from runtime.serve import exceptions, testing

__all__ = [
    "Application",
    "Deployment",
    "ReplicaContext",
    "ServeStatus",
    "batch",
    "delete",
    "deployment",
    "exceptions",
    "get_app_handle",
    "get_deployment_handle",
    "get_multiplexed_model_id",
    "get_replica_context",
    "ingress",
    "multiplexed",
    "run",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in ("exceptions", "testing"):  # on first use: a test's client brings the replica's code with it
        from importlib import import_module

        return import_module(f"runtime.serve.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
