"""The example, the schema and the models say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from runtime.config.keys import SECTIONS, reference
from runtime.config.load import load_config
from runtime.config.models import Deployment
from runtime.config.schema import json_schema, schema_text

CONFIGS = Path(__file__).parents[2] / "configs"
EXAMPLES = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return dict(yaml.safe_load((CONFIGS / "mux.example.yaml").read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid_where_it_lies(path: Path) -> None:
    assert load_config(path, {}).config.deployments


def test_the_example_holds_every_key(example: dict[str, Any]) -> None:
    missing = []
    for section, model in SECTIONS.items():
        places: list[Any] = [example]
        for part in section:
            places = [inner for place in places for inner in (place if part == "*" else [place.get(part) or {}])]
        held = {key for place in places for key in place}
        missing += [".".join((*section, key)) for key in model.model_fields if key not in held]
    assert missing == ["deployments.*.s3." + key for key in SECTIONS["s3",].model_fields if key != "region"]


def test_the_example_says_the_defaults() -> None:
    """A value that is not the default has a comment that names it; a name and a loader have none."""
    text = (CONFIGS / "mux.example.yaml").read_text()
    lines = text[text.index("- name: Lines") :].splitlines()
    first = load_config(CONFIGS / "mux.example.yaml", {}).config.deployments[0]
    for key, info in Deployment.model_fields.items():
        line = next((line for line in lines if line.lstrip(" -").startswith(f"{key}:")), "")
        if key not in ("name", "loader") and getattr(first, key) != info.default:
            assert "default" in line, line


def test_the_committed_schema_is_in_step() -> None:
    assert (CONFIGS / "mux.schema.json").read_text() == schema_text(), (
        "run: python -m runtime.config.schema > configs/mux.schema.json"
    )


def test_every_key_is_described() -> None:
    keys = list(reference())
    assert [key.path for key in keys if len(key.description) < 10 or not key.description.endswith(".")] == []
    assert {"http.port", "deployments[].num_replicas", "deployments[].s3.region"} <= {key.path for key in keys}
    described = json_schema()["$defs"]["Deployment"]["properties"]
    assert described["num_replicas"]["description"] == "How many processes run it."


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_takes_the_examples(path: Path) -> None:
    Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("num_replicas", 2, True),
        ("num_replicas", "${N:-2}", True),
        ("num_replicas", "2", False),
        ("num_replicas", 0, False),
        ("load_timeout_s", "1m30s", True),
        ("load_timeout_s", "soon", False),
        ("max_model_bytes_per_replica", "8GiB", True),
        ("max_model_bytes_per_replica", "8G", False),
        ("max_num_models_per_replica", {"a": 2}, True),
        ("max_num_models_per_replica", -1, True),
        ("max_num_models_per_replica", 0, False),
        ("preload", [1, "a"], True),
        ("env", {"A": 1}, True),
        ("load", "erly", False),
        ("num_replica", 2, False),
    ],
)
def test_the_schema_of_one_key(key: str, value: object, right: bool) -> None:
    whole = {"deployments": [{"name": "M", "loader": "app:load", key: value}]}
    assert Draft202012Validator(json_schema()).is_valid(whole) is right
