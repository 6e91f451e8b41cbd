"""The plan: what changed, in words, and how little is disturbed for it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.diff import WITHOUT_RESTART, Change, diff
from runtime.config.models import Config, Deployment
from runtime.config.options import OF_CODE
from runtime.serve.options import DeploymentOptions


def config(*deployments: dict[str, Any], **rest: Any) -> Config:
    listed = deployments or ({},)
    return Config.model_validate(
        {"deployments": [{"name": "M", "loader": "app:load", **one} for one in listed], **rest}
    )


def plan(old: Config | None, new: Config, **rest: Any) -> list[str]:
    changes = diff(old, new, rest.get("old_digests", {}), rest.get("new_digests", {}), rest.get("scaled", {}))
    return [f"{change} [{change.action}]" for change in changes]


def test_the_first_deploy_starts_everything() -> None:
    new = config({}, {"name": "N", "route_prefix": None, "num_replicas": 2}, http={"routers": 2})
    assert plan(None, new) == [
        "+ router: http://127.0.0.1:8000, 2 processes [router]",
        "+ M: 1 replica, route / [start]",
        "+ N: 2 replicas, no route [start]",
    ]


def test_port_0_is_no_address() -> None:
    assert plan(None, config(http={"port": 0}))[0] == "+ router: any free port of 127.0.0.1 [router]"


def test_a_cap_that_is_written_as_its_default_is_no_change() -> None:
    assert plan(config({"max_num_models_per_replica": 3}), config({})) == []
    assert plan(config({"max_num_models_per_replica": 3}), config({"max_num_models_per_replica": None})) == []
    assert plan(config({"max_num_models_per_replica": 4}), config({})) == [
        "~ M: max_num_models_per_replica 4 → 3 [restart]"
    ]


def test_nothing_changed() -> None:
    assert plan(config(), config(), old_digests={"M": {"app.py": "1"}}, new_digests={"M": {"app.py": "1"}}) == []


def test_deployments_come_and_go() -> None:
    assert plan(config({}), config({"name": "N"})) == [
        "+ N: 1 replica, route / [start]",
        "- M: 1 replica, route / [stop]",
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"num_replicas": 3}, "num_replicas 1 → 3 [scale]"),
        ({"user_config": {"t": 0.5}}, {"user_config": {"t": 0.7}}, "user_config.t 0.5 → 0.7 [reconfigure]"),
        ({"user_config": {"t": True}}, {"user_config": {"t": ""}}, "user_config.t true → '' [reconfigure]"),
        ({}, {"user_config": {"t": 1}}, "user_config.t added [reconfigure]"),
        ({"user_config": {"t": None}}, {}, "user_config.t removed [reconfigure]"),
        (
            {"user_config": {"password": 1}},
            {"user_config": {"password": 2}},
            "user_config.password changed [reconfigure]",
        ),
        ({"user_config": {"t": "x" * 90}}, {"user_config": {"t": "y"}}, "user_config.t changed [reconfigure]"),
        ({}, {"max_queued_requests": 9}, "max_queued_requests -1 → 9 [none]"),
        ({}, {"health_check_period_s": 5}, "health_check_period_s 10s → 5s [none]"),
        ({}, {"max_ongoing_requests": 8}, "max_ongoing_requests 5 → 8 [restart]"),
        ({}, {"max_model_bytes_per_replica": "8GiB"}, "max_model_bytes_per_replica null → 8GiB [restart]"),
        ({}, {"preload": ["1"]}, "preload [] → ['1'] [restart]"),
        ({"env": {"T": "a", "U": "u"}}, {"env": {"T": "b"}}, "env.T changed, env.U removed [restart]"),
        ({"load": "early"}, {"load": "on_call"}, "load early → on_call [restart]"),
        (
            {},
            {"user_config": {"t": 1}, "env": {"T": "x"}, "max_surge": 0},
            "max_surge 1 → 0, user_config.t added, env.T added [restart]",
        ),
    ],
)
def test_one_deployment_changed(before: dict[str, Any], after: dict[str, Any], expected: str) -> None:
    assert plan(config(before), config(after)) == [f"~ M: {expected}"]


def by_class(**keys: Any) -> Config:
    return Config.model_validate({"deployments": [{"name": "M", "import_path": "app:entry", **keys}]})


@pytest.mark.parametrize(
    ("before", "after", "code", "expected"),
    [
        ({}, {"num_replicas": 3}, {"num_replicas": 2}, "num_replicas 2 (by the code) → 3 [scale]"),
        ({"num_replicas": 3}, {}, {"num_replicas": 2}, "num_replicas 3 → 2 (by the code) [scale]"),
        ({"num_replicas": 3}, {}, {}, "num_replicas 3 → 1 (by default) [scale]"),
        ({}, {"num_replicas": 2}, {"num_replicas": 2}, ""),
        ({}, {"num_replicas": 1}, {}, ""),
        ({}, {"num_replicas": 1}, {"num_replicas": 2}, "num_replicas 2 (by the code) → 1 [scale]"),
        ({}, {"num_replicas": 1}, None, "num_replicas 1 (unless the code says otherwise) → 1 [scale]"),
        (
            {},
            {"max_queued_requests": -1},
            {"max_queued_requests": 9},
            "max_queued_requests 9 (by the code) → -1 [none]",
        ),
        ({}, {"max_ongoing_requests": 5}, {}, "max_ongoing_requests 5 (by default) → 5 [restart]"),
        ({"max_ongoing_requests": 5}, {}, {}, "max_ongoing_requests 5 → 5 (by default) [restart]"),
        ({}, {}, {"max_ongoing_requests": 9}, ""),
        ({}, {"user_config": {}}, {"user_config": {"t": 1}}, "user_config.t removed [reconfigure]"),
        ({}, {"user_config": {"t": 1}}, {"user_config": [1]}, "user_config [1] (by the code) → {'t': 1} [reconfigure]"),
        ({}, {"application": "default"}, {}, ""),
    ],
)
def test_what_the_file_leaves_to_the_code(
    before: dict[str, Any], after: dict[str, Any], code: dict[str, Any] | None, expected: str
) -> None:
    options = {} if code is None else {"M": code}
    changes = diff(by_class(**before), by_class(**after), {}, {}, {}, options)
    said = [f"{change} [{change.action}]" for change in changes]
    assert said == ([f"~ M: {expected}"] if expected else [])


def test_how_many_replicas_the_code_wants_is_not_known_before_it_has_run() -> None:
    new = by_class(route_prefix=None)
    assert plan(None, new)[1] == "+ M: 1 replica unless the code says otherwise, no route [start]"
    gone = diff(new, config({"name": "N"}), {}, {}, {}, {"M": {"num_replicas": 2}})[-1]
    assert str(gone) == "- M: 2 replicas, no route"


def test_a_scale_by_hand_ends_at_what_the_code_says() -> None:
    changes = diff(by_class(), by_class(), {}, {}, {"M": 4}, {"M": {"num_replicas": 2}})
    assert [str(change) for change in changes] == ["~ M: num_replicas 4 (scaled by hand) → 2 (by the code)"]


def test_the_keys_that_code_can_set_are_those_of_the_decorator() -> None:
    assert set(OF_CODE) == set(DeploymentOptions.__dataclass_fields__) - {"name", "given"}
    assert all(name in Deployment.model_fields for name in OF_CODE)


def test_a_restart_and_a_scale_are_two_lines() -> None:
    assert plan(config(), config({"num_replicas": 2, "application": "shop"})) == [
        "~ M: application default → shop [restart]",
        "~ M: num_replicas 1 → 2 [scale]",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"app.py": "1"}, {"app.py": "2"}, "app.py changed"),
        ({"app.py": "1", "b.py": "1"}, {"app.py": "2", "b.py": "2"}, "app.py and b.py changed"),
        ({"app.py": "1"}, {"app.py": "1", "b.py": "1"}, "b.py added"),
        ({"app.py": "1", "b.py": "1"}, {"app.py": "1"}, "b.py no longer used"),
        (dict.fromkeys("abcd", "1"), dict.fromkeys("abcd", "2"), "a and 3 more files changed"),
    ],
)
def test_code_changed(old: dict[str, str], new: dict[str, str], expected: str) -> None:
    assert plan(config(), config(), old_digests={"M": old}, new_digests={"M": new}) == [f"~ M: {expected} [restart]"]


def test_a_scale_by_hand_ends_with_the_next_deploy() -> None:
    assert plan(config(), config(), scaled={"M": 4}) == ["~ M: num_replicas 4 (scaled by hand) → 1 [scale]"]
    assert plan(config(), config({"num_replicas": 4}), scaled={"M": 4}) == []


def test_the_public_side_is_the_routers() -> None:
    new = config(http={"port": 8001, "admin_token": "hunter2hunter2hunter2"}, model_id={"query": "model"})
    assert plan(config(), new) == [
        "~ router: port 8000 → 8001, admin_token changed, model_id.query null → model [router]"
    ]


def test_the_settings_of_the_bucket_concern_who_uses_it() -> None:
    listed = ({"source": "s3://b/{model_id}", "route_prefix": "/m"}, {"name": "N"})
    new = config(*listed, s3={"region": "x", "session_token": "hunter2"}, cache={"max_bytes": "1GiB"})
    assert plan(config(*listed), new) == [
        "~ M: s3.region null → x, s3.session_token changed, cache.max_bytes 10GiB → 1GiB [restart]"
    ]


def test_no_secret_is_in_a_plan() -> None:
    old = config({"env": {"T": "hunter2"}}, http={"admin_token": "hunter2" * 3})
    new = config({"env": {"T": "hunter3"}}, http={"admin_token": "hunter3" * 3})
    assert "hunter" not in " ".join(plan(old, new))


def test_a_change_travels_as_an_event() -> None:
    assert Change("~", "M", "app.py changed", "restart").as_event() == {
        "sign": "~", "what": "M", "why": "app.py changed", "action": "restart",
    }  # fmt: skip
    assert str(Change("-", "M", "", "stop")) == "- M"


def test_every_key_that_needs_no_restart_exists() -> None:
    assert set(WITHOUT_RESTART) <= set(Deployment.model_fields)
