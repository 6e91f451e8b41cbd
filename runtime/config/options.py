"""The keys that code can set too, by ``@serve.deployment(...)``: file over code, code over default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runtime.config.deployment import Deployment

Options = Mapping[str, Any]
"""What the code of one deployment says, by key; a key that it does not say is absent."""

OF_CODE: Final = (
    "num_replicas",
    "max_ongoing_requests",
    "max_queued_requests",
    "user_config",
    "health_check_period_s",
    "health_check_timeout_s",
    "graceful_shutdown_timeout_s",
)


def left_to_code(deployment: Deployment) -> frozenset[str]:
    """Return the keys that the file does not name and code may; with a ``loader`` there is no decorator."""
    if deployment.import_path is None:
        return frozenset()
    return frozenset(OF_CODE) - deployment.model_fields_set


def with_code(deployment: Deployment, options: Options) -> Deployment:
    """Return the deployment with what its code says in the keys that are left to it.

    ``user_config`` stays the file's: the code's may be anything, and only its replicas use it.
    """
    said = {key: options[key] for key in left_to_code(deployment) - {"user_config"} if key in options}
    return deployment.model_copy(update=said) if said else deployment


def options_of(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a replica's ``Ready.detail``; none in one of a replica that does not tell."""
    told = detail.get("options") or {}
    return {key: told[key] for key in OF_CODE if key in told}
