"""The pages about the user API are true: every name of Ray Serve is accounted for, every block runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import serve
from runtime.replica.signatures import wants_of
from runtime.serve import context, handle, options, overview
from tests.serve.ray_names import MEMBERS, PUBLIC

DOCS = Path(__file__).parents[2] / "docs"

SERVE_NAMES = [
    "batch",
    "start",
    "ControllerOptions",
    "HTTPOptions",
    "TracingConfig",
    "get_replica_context",
    "get_deployment_actor",
    "get_deployment_actor_context",
    "get_trace_context",
    "shutdown",
    "shutdown_async",
    "ingress",
    "deployment",
    "run",
    "run_many",
    "RunTarget",
    "delete",
    "Application",
    "Deployment",
    "multiplexed",
    "get_multiplexed_model_id",
    "status",
    "get_app_handle",
    "get_deployment_handle",
]
"""``ray.serve.__all__`` of 2.60, without what begins with an underscore."""

DEPLOYMENT_OPTIONS = [
    "name",
    "version",
    "num_replicas",
    "ray_actor_options",
    "placement_group_bundles",
    "placement_group_strategy",
    "placement_group_bundle_label_selector",
    "max_replicas_per_node",
    "user_config",
    "max_ongoing_requests",
    "max_queued_requests",
    "backpressure_config",
    "autoscaling_config",
    "graceful_shutdown_wait_loop_s",
    "graceful_shutdown_timeout_s",
    "health_check_period_s",
    "health_check_timeout_s",
    "logging_config",
    "request_router_config",
    "max_constructor_retry_count",
    "gang_scheduling_config",
    "deployment_actors",
    "rolling_update_percentage",
    "max_surge_percent",
]
"""The parameters of ``ray.serve.deployment`` of 2.60."""


def sections() -> dict[str, dict[str, tuple[str, str]]]:
    """Return the page's tables: section → name → (same | different | absent, note)."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for line in (DOCS / "compatibility.md").read_text().splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line[3:].replace("`", ""), {})
        match = re.match(r"\| `([\w.]+)` \| (\w+) \| (.*)\|$", line)
        if match:
            assert match[1] not in rows, f"{match[1]} stands twice"
            rows[match[1]] = (match[2], match[3].strip())
    return found


PAGE = sections()
NAMES = [(section, name) for section, rows in PAGE.items() if "ptions of" not in section for name in rows]


MODULES: dict[str, Any] = {"handle": handle, "exceptions": serve.exceptions, "context": context}


def is_there(name: str) -> bool:
    """Return whether ``serve.<name>`` can be had; of ``schema`` the status shapes lie in ``runtime.serve.overview``."""
    module, _, attribute = name.rpartition(".")
    if module == "schema":
        return hasattr(overview, attribute)
    where: Any = serve if not module else MODULES.get(module)
    return where is not None and hasattr(where, attribute)


@pytest.mark.parametrize(("section", "name"), NAMES)
def test_each_name_is_there_or_absent_as_the_page_says(section: str, name: str) -> None:
    verdict, note = PAGE[section][name]
    assert verdict in ("same", "different", "absent")
    assert is_there(name) == (verdict != "absent")
    assert note or verdict == "same", f"say how {name} differs, or why it is absent"


def test_every_public_name_of_ray_serve_is_on_the_page() -> None:
    assert set(PAGE["serve"]) == set(SERVE_NAMES)


def test_every_public_name_of_its_modules_is_on_the_page() -> None:
    assert set(PAGE["Everything else"]) == {f"{module}.{name}" for module, names in PUBLIC.items() for name in names}


@pytest.mark.parametrize(("of", "name"), [(of, name) for of, names in MEMBERS.items() for name in names])
def test_each_member_of_a_class_is_there_or_named_as_absent(of: str, name: str) -> None:
    note = (PAGE["serve"] | PAGE["serve.handle"])[of][1]
    there: dict[str, list[Any]] = {
        "status": [overview.ServeStatus, overview.ApplicationStatusOverview, overview.DeploymentStatusOverview],
        "get_replica_context": [context.ReplicaContext],
    }
    holders = there.get(of) or [getattr(handle, of.removeprefix("handle."), None) or serve.Deployment]
    made_in_init = ("app_name", "deployment_name", "func_or_class", "request_id")
    has = name in made_in_init or any(hasattr(holder, name) for holder in holders)
    absent = [part for part in note.split(". ") if "bsent" in part or "There is no" in part or "So are" in part]
    assert has != any(f"`{name}`" in part for part in absent)


def test_every_option_of_a_deployment_is_on_the_page() -> None:
    rows = PAGE["Options of @serve.deployment and .options()"]
    assert set(DEPLOYMENT_OPTIONS) <= set(rows)
    absent = {name for name, (verdict, _) in rows.items() if verdict == "absent"}
    assert absent == set(options.REFUSED)
    assert set(rows) - absent == set(options.DeploymentOptions.__dataclass_fields__) - {"given"}


def test_every_option_of_a_handle_is_on_the_page() -> None:
    rows = PAGE["Options of handle.options()"]
    assert {name for name, (verdict, _) in rows.items() if verdict == "absent"} == set(handle.REFUSED)
    there = {name for name, (verdict, _) in rows.items() if verdict != "absent"}
    assert there == set(handle.HandleOptions.__dataclass_fields__)


def test_what_the_page_says_of_the_replica_context() -> None:
    _, note = PAGE["serve"]["get_replica_context"]
    for name in re.findall(r"`(\w+)`", note.partition("There is no")[0]):
        assert hasattr(context.ReplicaContext, name)


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield the ``python`` blocks of a page with the heading above them."""
    heading, lines, inside = "", [], False
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("## ") and not inside:
            heading = line[3:]
        if line.startswith("```") and inside:
            yield heading, "\n".join(lines)
            lines, inside = [], False
        elif inside:
            lines.append(line)
        elif line == "```python":
            inside = True


@pytest.mark.parametrize(("heading", "code"), list(blocks("migrating.md")))
def test_the_blocks_of_the_migration_guide_run(heading: str, code: str) -> None:
    names: dict[str, Any] = {"__name__": "a_users_module"}
    exec(compile(code, f"migrating.md: {heading}", "exec"), names)
    if "predict" in names:  # the loader style: the name of its second parameter says what it is given
        assert wants_of(names["predict"])[0] == "body"
        assert names["predict"]([2.0, -1.0], [1, 1]) == {"spam": True}


def test_the_blocks_of_the_testing_page_are_tests_that_pass() -> None:
    [(heading, code)] = blocks("testing.md")
    names: dict[str, Any] = {"__name__": "a_users_module"}
    exec(compile(code, f"testing.md {heading}", "exec"), names)
    tests: list[Callable[[], None]] = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 5
    for test in tests:
        test()


def test_the_pages_name_what_the_client_has() -> None:
    text = (DOCS / "testing.md").read_text()
    public = {name for name in vars(serve.testing.ServeClient) if not name.startswith("_")}
    assert all(f"`{name}" in text or f", `{name}" in text for name in public)
