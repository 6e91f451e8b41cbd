"""The plan: what changed, in words, and how little is disturbed for it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.diff import WITHOUT_RESTART, Change, diff
from runtime.config.models import Config, Deployment


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
