"""``mux logs`` of a project that is down."""

from __future__ import annotations

import json
import time

import pytest

from mux_cli.commands.logs import moment
from mux_cli.exits import UsageProblem
from runtime.observe.logs import Identity, LogWriter
from runtime.project import Project
from tests.cli.conftest import MakeProject, Run


@pytest.fixture
def shop(make_project: MakeProject) -> Project:
    project = make_project("shop")
    for replica, models in (("EjYmnQ", "12"), ("aB12Cd", "3")):
        identity = Identity(f"Model#{replica}", "default", "Model", replica)
        writer = LogWriter(project.log_dir(identity.process), identity)
        for model in models:
            writer.event(f"Loading model '{model}'.", model=model, event="model.loading")
        writer.event("something odd", level="WARNING")
        writer.close()
    return project


def test_all_lines_come_in_the_documented_form(mux: Run, shop: Project) -> None:
    result = mux("logs", "-p", "shop")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert " default_Model default_Model#EjYmnQ - - default " in lines[0]
    assert lines[0].startswith("INFO ")
    assert lines[0].endswith(" - Loading model '1'.")
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (["Model"], 5),
        (["EjYmnQ"], 3),
        (["Model#aB12Cd"], 2),
        (["-n", "2"], 2),
        (["-n", "-1"], 5),
        (["--level", "Warning"], 2),
        (["--model", "3"], 1),
        (["--grep", "model '[12]'"], 2),
        (["--since", "10m"], 5),
        (["--since", "2020-01-01T00:00:00"], 5),
    ],
)
def test_what_is_asked_for_is_shown(mux: Run, shop: Project, args: list[str], count: int) -> None:
    result = mux("logs", "-p", "shop", *args)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, count)


def test_nothing_that_fits_is_said_on_stderr(mux: Run, shop: Project) -> None:
    result = mux("logs", "-p", "shop", "--model", "99")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No log line fits.\n")


def test_a_name_nobody_has_is_no_such_thing(mux: Run, shop: Project) -> None:
    result = mux("logs", "Modle", "-p", "shop")
    assert result.exit_code == 8
    assert "Deployments: Model." in result.stderr


def test_json_lines_are_records(mux: Run, shop: Project) -> None:
    records = [json.loads(line) for line in mux("logs", "-p", "shop", "--json").stdout.splitlines()]
    assert [record["model"] for record in records if record["event"] == "model.loading"] == ["1", "2", "3"]
    assert records[0]["replica"] == "EjYmnQ"


def test_colours_can_be_forced_and_tell_replicas_apart(mux: Run, shop: Project) -> None:
    assert "\x1b[" in mux("logs", "-p", "shop", FORCE_COLOR="1").stdout
    assert "\x1b[" not in mux("logs", "-p", "shop", FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize("args", [["--grep", "("], ["--since", "soon"], ["--since", "2020-99-01"], ["--level", "loud"]])
def test_what_cannot_be_meant_is_a_usage_problem(mux: Run, shop: Project, args: list[str]) -> None:
    assert mux("logs", "-p", "shop", *args).exit_code == 2


def test_since_is_a_length_of_time_or_a_date() -> None:
    assert moment("10m", 1000.0) == 400.0
    assert moment("2026-05-24T01:19:03+00:00", 0.0) == 1779585543.0
    with pytest.raises(UsageProblem):
        moment("2026-13-01", time.time())
