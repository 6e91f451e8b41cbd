"""Every limit that a deployment's config may set is the one that its replicas decide with."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.deployment import DEFAULT_CAP, Deployment
from runtime.replica.executor import Executor
from runtime.replica.loader_style import LoaderStyle
from runtime.replica.settings import DeploymentSettings, limits_of

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
    assert getattr(limits_of(settings({key: value}), CODE), name) == limit
    assert getattr(limits_of(settings({}), CODE), name) != limit


def settings(config: dict[str, object]) -> DeploymentSettings:
    deployment = Deployment.model_validate({"name": "Model", "loader": "app:load", **config})
    return DeploymentSettings.of_spec(json.loads(json.dumps(deployment.to_spec())))


def test_every_key_that_a_replica_reads_keeps_its_value_on_the_way() -> None:
    config: dict[str, object] = {
        "unloader": "app:unload", "handler": "app:predict", "source": "s3://bucket/{model_id}/", "preload": ["1"],
        "s3": {"region": "eu-west-1"}, "pin": ["2"], "copies": 1, "user_config": {"a": 1}, "torch_threads": 2,
    }  # fmt: skip
    told = settings(config)
    assert {key: getattr(told, key) for key in config if key != "s3"} == {k: v for k, v in config.items() if k != "s3"}
    assert told.s3 is not None
    assert told.s3["region"] == "eu-west-1"
    assert told.written == {"name", "loader", *config}


@pytest.mark.anyio
async def test_a_loader_without_a_cap_has_the_one_that_a_changed_config_is_compared_by() -> None:
    async def ask(cache: int, model_id: str, owner: object | None) -> object:
        raise AssertionError("nothing is asked")

    style = LoaderStyle(lambda model_id: model_id, None, None, has_source=False, executor=Executor(1), ask=ask)
    assert limits_of(settings({}), style).slots == (DEFAULT_CAP,)
