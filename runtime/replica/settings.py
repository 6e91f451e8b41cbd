"""What holds for this replica: the config's keys, over what the code's decorators say, over the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec

from runtime.core.events import ReplicaLimits
from runtime.errors import StartError
from runtime.replica.servable import Servable


class DeploymentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica reads of its deployment's config, which arrives as JSON from the supervisor, whole and checked.

    No key has a default here: the config's models fill them in, and ``written`` tells which the file names.
    """

    name: str
    import_path: str | None
    loader: str | None
    handler: str | None
    unloader: str | None
    source: str | None
    s3: dict[str, str | None] | None
    max_num_models_per_replica: int | dict[str, int] | None
    max_model_bytes_per_replica: int | None
    max_ongoing_requests: int
    max_buffered_body_bytes: int
    max_concurrent_loads: int
    eviction: Literal["lru", "lfu", "gdsf"]
    load: Literal["early", "on_call"]
    preload: list[str]
    pin: list[str]
    copies: int | None
    swap_wait_s: float
    drain_limit_s: float
    idle_unload_s: float | None
    load_timeout_s: float
    graceful_shutdown_timeout_s: float
    health_check_timeout_s: float
    user_config: dict[str, Any]
    torch_threads: int | None
    executor_threads: int | None
    written: frozenset[str]

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return what ``runtime.config.Deployment.to_spec`` was taken of. Raises ``msgspec.ValidationError``."""
        return msgspec.convert(spec, cls)


def option(config: DeploymentSettings, servable: Servable, name: str) -> Any:
    """Return an option that both the config and ``@serve.deployment`` can set; the config goes first."""
    value = getattr(config, name)
    return value if name in config.written else servable.options.get(name, value)


def user_config_of(config: DeploymentSettings, servable: Servable) -> Any:
    """Return what ``reconfigure`` is given; None if neither the config nor the code says anything: ``{}`` is said."""
    said = "user_config" in config.written or "user_config" in servable.options
    return option(config, servable, "user_config") if said else None


def limits_of(config: DeploymentSettings, servable: Servable) -> ReplicaLimits:
    """Return the brain's limits. Raises ``StartError`` where the config does not fit the code."""
    slots = _slots(config, servable)
    _check_pins(config, servable, slots)
    return ReplicaLimits(
        slots=slots,
        places=places_of(config, servable, slots),
        max_batch=servable.max_batch,
        max_bytes=config.max_model_bytes_per_replica,
        max_concurrent_loads=config.max_concurrent_loads,
        eviction=config.eviction,
        swap_wait_s=config.swap_wait_s,
        drain_limit_s=config.drain_limit_s,
        idle_unload_s=config.idle_unload_s,
        load_timeout_s=config.load_timeout_s,
        load_early=config.load == "early",
        admit_failed=servable.admits_failed,
        has_source=config.source is not None,
    )


def places_of(config: DeploymentSettings, servable: Servable, slots: tuple[int, ...]) -> int:
    """Return how many requests run at once; with batches, room for a full one of every model, unless it is set."""
    places: int = option(config, servable, "max_ongoing_requests")
    said = "max_ongoing_requests" in config.written or "max_ongoing_requests" in servable.options
    if said or servable.max_batch == 1:
        return places
    return max(places, servable.max_batch * max((cap for cap in slots if cap > 0), default=1))


def _slots(config: DeploymentSettings, servable: Servable) -> tuple[int, ...]:
    wanted = config.max_num_models_per_replica
    if wanted is None:
        return servable.caches
    if not servable.caches:
        raise StartError(
            "max_num_models_per_replica is set, but the deployment has no @serve.multiplexed loader",
            hint="remove the key, or decorate the loader",
        )
    if isinstance(wanted, int):
        return tuple(wanted for _ in servable.caches)
    unknown = sorted(set(wanted) - set(servable.cache_names))
    if unknown:
        raise StartError(
            f"max_num_models_per_replica names {', '.join(unknown)}, but the loaders are "
            f"{', '.join(servable.cache_names) or 'none'}"
        )
    return tuple(wanted.get(name, cap) for name, cap in zip(servable.cache_names, servable.caches, strict=True))


def _check_pins(config: DeploymentSettings, servable: Servable, slots: tuple[int, ...]) -> None:
    if (config.pin or config.preload) and len(slots) != 1:
        raise StartError(
            f"pin and preload need exactly one loader, but the deployment has {len(slots)}",
            hint="call the loaders in __init__ instead",
        )
