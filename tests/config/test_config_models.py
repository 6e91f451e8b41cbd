"""The models: defaults, round trips, sizes and times, S3 settings handed down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.config.models import S3, Config, Deployment, Http, ModelIdConfig
from runtime.config.units import format_size, parse_duration, parse_size
from runtime.core.eviction import POLICIES
from tests.config.conftest import Load


def config(**deployment: Any) -> Config:
    return Config.model_validate({"deployments": [{"name": "M", "loader": "app:load_model", **deployment}]})


def test_the_name_is_that_of_the_folder(load: Load) -> None:
    loaded = load("deployments: [{name: M, loader: 'app:load_model'}]")
    assert loaded.config.name == "shop"
    assert loaded.config.deployment("M") is loaded.config.deployments[0]
    assert loaded.config.deployment("N") is None


def test_it_travels_as_json_and_back() -> None:
    whole = config(source="s3://b/{model_id}", max_num_models_per_replica={"a": 2, "b": -1}, user_config={"x": [1.5]})
    assert Config.model_validate_json(json.dumps(whole.model_dump(mode="json"))) == whole
    assert Config.model_validate(whole.model_dump(mode="json")) == whole
    first = whole.deployments[0]
    assert Deployment.model_validate(first.model_dump(mode="json")) == first


def test_it_is_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().http.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="valid integer"):
        config(num_replicas="2")
    with pytest.raises(ValidationError, match="Extra inputs"):
        config(replicas=2)


def test_secrets_are_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Http(admin_token="hunter2"))
    assert "hunter2" not in repr(S3(access_key_id="AKIA", secret_access_key="hunter2", session_token="hunter2"))


def test_s3_settings_of_the_file_go_to_each_deployment_with_a_bucket() -> None:
    whole = Config.model_validate(
        {
            "s3": {"region": "eu-west-1", "endpoint_url": "http://minio:9000"},
            "deployments": [
                {"name": "A", "loader": "a:b", "source": "s3://b/{model_id}", "s3": {"region": "us-east-1"}},
                {"name": "B", "loader": "a:b", "source": "s3://b/{model_id}"},
                {"name": "C", "loader": "a:b", "source": "./{model_id}"},
            ],
        }
    )
    a, b, c = whole.deployments
    assert a.s3 == S3(region="us-east-1", endpoint_url="http://minio:9000")
    assert b.s3 == S3(region="eu-west-1", endpoint_url="http://minio:9000")
    assert c.s3 is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64MiB", 2**26), ("1GiB", 2**30), ("10GB", 10**10), ("1.5 KiB", 1536), ("2tib", 2**41)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert config(max_model_bytes_per_replica=text).deployments[0].max_model_bytes_per_replica == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "64", "-1MiB", "1Gi", "64 M", "1.MiB", "MiB", "1 GiB 1"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert config(load_timeout_s=text).deployments[0].load_timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "-1s", "1w", "s", "1h 30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("model_id", "why"),
    [
        ("1", ""),
        ("team/bert-base.v2_x", ""),
        ("", "does not match"),
        ("a/../b", "contains '..'"),
        ("/etc/passwd", "starts with '/'"),
        ("a//b", "does not match"),
        ("a\n", "contains a control character"),
        ("x" * 200, ""),
        ("x" * 201, "is longer than 200 characters"),
        ("größe", "does not match"),
    ],
)
def test_model_ids(model_id: str, why: str) -> None:
    refused = ModelIdConfig().refuse(model_id)
    assert refused.startswith(why)
    assert bool(refused) == bool(why)


@pytest.mark.parametrize("source", ["file:///models/{model_id}.pt", "s3://bucket/{model_id}/", "~/{model_id}/m.pt"])
def test_sources(load: Load, source: str) -> None:
    text = f"deployments: [{{name: M, loader: 'app:load_model', source: '{source}'}}]"
    assert load(text).config.deployments[0].source == source


def test_pins_are_counted_with_their_copies(load: Load) -> None:
    text = "deployments: [{name: M, loader: 'app:load_model', num_replicas: 4, copies: 1, pin: [1, 2, 3, 4, 5, 6]}]"
    assert load(text).config.deployments[0].pin == ["1", "2", "3", "4", "5", "6"]


def test_another_host_with_a_token_is_allowed(load: Load) -> None:
    text = "http: {host: '::', admin_token: '${T}'}\ndeployments: [{name: M, loader: 'app:load_model'}]"
    assert load(text, {"T": "x" * 16}).config.http.admin_token == "x" * 16
    for host in ("localhost", "127.8.0.1", "'::1'"):
        load(f"http: {{host: {host}}}\ndeployments: [{{name: M, loader: 'app:load_model'}}]")


def test_a_spec_tells_what_was_written_even_where_it_equals_the_default() -> None:
    deployment = Deployment.model_validate({"name": "M", "import_path": "app:entry", "max_ongoing_requests": 5})
    spec = json.loads(json.dumps(deployment.to_spec()))
    assert spec.pop("written") == ["import_path", "max_ongoing_requests", "name"]
    assert Deployment.model_validate(spec) == deployment


def test_every_eviction_policy_of_the_brain_can_be_named() -> None:
    for name in POLICIES:
        assert Deployment.model_validate({"name": "M", "import_path": "app:entry", "eviction": name}).eviction == name
    with pytest.raises(ValidationError):
        Deployment.model_validate({"name": "M", "import_path": "app:entry", "eviction": "random"})
