"""Every limit that a deployment's config may set is the one that its replicas decide with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.deployment import Deployment
from runtime.replica.settings import limits_of

CODE: Any = SimpleNamespace(caches=(3,), cache_names=("load",), options={}, max_batch=1, admits_failed=False)


@pytest.mark.parametrize(
    ("key", "value", "name", "limit"),
    [
        ("max_num_models_per_replica", 7, "slots", (7,)),
        ("max_model_bytes_per_replica", "2GiB", "max_bytes", 2 << 30),
        ("max_concurrent_loads", 3, "max_concurrent_loads", 3),
        ("max_ongoing_requests", 9, "places", 9),
        ("eviction", "gdsf", "eviction", "gdsf"),
        ("swap_wait_s", 0.25, "swap_wait_s", 0.25),
        ("drain_limit_s", 12.5, "drain_limit_s", 12.5),
        ("idle_unload_s", 60, "idle_unload_s", 60.0),
        ("load_timeout_s", 44, "load_timeout_s", 44.0),
        ("load", "on_call", "load_early", False),
        ("source", "./models/{model_id}.pt", "has_source", True),
    ],
)
def test_a_limit_of_the_config_is_the_replicas(key: str, value: object, name: str, limit: object) -> None:
    plain = {"name": "Model", "loader": "app:load"}
    assert getattr(limits_of(Deployment.model_validate({**plain, key: value}), CODE), name) == limit
    assert getattr(limits_of(Deployment.model_validate(plain), CODE), name) != limit
