"""A deployment's options: Ray Serve's names, checked at once, and the names that have no meaning here."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

NO_ACTORS: Final = "there are no Ray actors: a replica is a process of this machine"
REFUSED: Final[dict[str, str]] = {
    "version": "a deployment changes when its code or config does; `mux deploy` compares both",
    "route_prefix": "it belongs to the application: serve.run(app, route_prefix=...), or the YAML",
    "ray_actor_options": NO_ACTORS + "; set env and torch_threads in the YAML",
    "placement_group_bundles": NO_ACTORS,
    "placement_group_strategy": NO_ACTORS,
    "placement_group_bundle_label_selector": NO_ACTORS,
    "placement_group_fallback_strategy": NO_ACTORS,
    "max_replicas_per_node": "a project runs on one machine",
    "gang_scheduling_config": NO_ACTORS,
    "deployment_actors": NO_ACTORS,
    "autoscaling_config": "the number of replicas is yours: num_replicas, or `mux scale Name=4` while it runs",
    "backpressure_config": "use max_queued_requests; what does not fit is answered 503 with Retry-After",
    "graceful_shutdown_wait_loop_s": "nothing polls: a replica stops when its last request ends",
    "logging_config": "every process writes structured logs; read them with `mux logs --level --json`",
    "request_router_config": "the scheduler is part of the product; load and copies in the YAML steer it",
    "max_constructor_retry_count": "a replica that cannot start fails the deploy at once, with your traceback",
    "rolling_update_percentage": "a rolling update replaces one replica at a time",
    "max_surge_percent": "use max_surge: 0 or 1 in the YAML",
    "max_concurrent_queries": "Ray Serve renamed it: use max_ongoing_requests",
}
IN_YAML: Final = frozenset({
    "application", "source", "loader", "handler", "unloader", "max_num_models_per_replica",
    "max_model_bytes_per_replica", "max_buffered_body_bytes", "max_concurrent_loads", "eviction", "load", "preload",
    "pin", "copies", "swap_wait_s", "drain_limit_s", "idle_unload_s", "load_timeout_s", "request_timeout_s",
    "max_surge", "env", "torch_threads", "executor_threads",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """What ``@serve.deployment(...)`` and ``.options(...)`` say. The YAML's keys of the same names override them."""

    name: str
    num_replicas: int = 1
    max_ongoing_requests: int = 5
    max_queued_requests: int = -1  # -1: no limit of its own
    user_config: Any = None
    health_check_period_s: float = 10.0
    health_check_timeout_s: float = 30.0
    graceful_shutdown_timeout_s: float = 20.0
    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)  # the names that code has set

    def changed(self, options: Mapping[str, Any]) -> DeploymentOptions:
        """Return a copy with ``options`` set. Raises ``TypeError`` or ``ValueError`` that names the wrong one."""
        checked = {name: _checked(name, value) for name, value in options.items()}
        return replace(self, **checked, given=self.given | frozenset(checked) - {"name"})

    def explicit(self) -> dict[str, Any]:
        """Return the options that code has set, the name left out: what a config without these keys takes over."""
        return {name: getattr(self, name) for name in sorted(self.given)}


def _checked(name: str, value: Any) -> Any:
    if name in REFUSED:
        raise TypeError(f"@serve.deployment has no option {name!r} here: {REFUSED[name]}")
    if name == "name":
        return check_name(value)
    if name == "num_replicas":
        return _replicas(value)
    if name == "max_ongoing_requests":
        return _whole(name, value, 1)
    if name == "max_queued_requests":
        return _whole(name, value, -1)
    if name == "graceful_shutdown_timeout_s":
        return _seconds(name, value, zero=True)
    if name in ("health_check_period_s", "health_check_timeout_s"):
        return _seconds(name, value, zero=False)
    if name == "user_config":
        return value
    raise TypeError(_unknown(name))


def _unknown(name: str) -> str:
    if name in IN_YAML:
        return f"@serve.deployment has no option {name!r}: it is a key of the deployment in the YAML file"
    known = [known for known in DeploymentOptions.__dataclass_fields__ if known != "given"]
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else f"; the options are {', '.join(sorted(known))}"
    return f"@serve.deployment has no option {name!r}{meant}"


def check_name(value: Any) -> str:
    """Return ``value`` if it may name a deployment: letters, digits, ``.``, ``_`` and ``-``."""
    if not isinstance(value, str):
        raise TypeError(f"name must be a string, not {type(value).__name__}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", value):
        raise ValueError(
            f"{value!r} cannot name a deployment: use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit "
            "first; name= gives it another name than the code's"
        )
    return value


def _replicas(value: Any) -> int:
    if value == "auto":
        raise ValueError(f"num_replicas='auto' is not known here: {REFUSED['autoscaling_config']}")
    return 1 if value is None else _whole("num_replicas", value, 1)


def _whole(name: str, value: Any, least: int) -> int:
    if type(value) is not int:
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, not {value}")
    return value


def _seconds(name: str, value: Any, *, zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {'0 or more' if zero else 'above 0'}, not {value}")
    return float(value)
