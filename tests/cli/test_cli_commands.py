"""The commands that talk to a supervisor, against its control API as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime import errors
from runtime.project import Project
from runtime.supervisor.api import (
    ApplyRequest,
    DownRequest,
    Event,
    ExplainAnswer,
    ModelRequest,
    ModelsAnswer,
    RestartRequest,
    ScaleRequest,
    WaitRequest,
)
from tests.cli.conftest import Run
from tests.cli.fakes import FakeSupervisor, WebServer
from tests.cli.shapes import model_infos, project_status

DONE = Event(kind="done", message="Everything is ready.", status=project_status())
CHANGE = {"sign": "~", "what": "Model", "why": "max_ongoing_requests 5 → 8"}


def test_status(mux: Run, supervisor: FakeSupervisor) -> None:
    result = mux("status")
    assert result.exit_code == 0
    assert "Model#EjYmnQ" in result.stdout
    assert json.loads(mux("status", "--json").stdout)["url"] == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["top", "--once"],
        ["models"],
        ["models", "load", "3"],
        ["scale", "Model=3"],
        ["restart"],
        ["wait"],
        ["explain", "abc"],
        ["request"],
    ],
)
def test_a_project_that_is_down_exits_with_five(mux: Run, shop: Project, args: list[str]) -> None:
    result = mux(*args)
    assert result.exit_code == 5
    assert "mux deploy" in result.stderr


def test_down_of_a_project_that_is_down_is_what_was_wanted(mux: Run, shop: Project) -> None:
    result = mux("down")
    assert (result.exit_code, result.stderr) == (0, "'shop' is not running.\n")


def test_top_once(mux: Run, supervisor: FakeSupervisor) -> None:
    assert "in flight 2  queued 4  models 3" in mux("top", "--once").stdout
    both = json.loads(mux("top", "--json").stdout)
    assert both["status"]["name"] == "shop"
    assert len(both["models"]) == 3


def test_models_are_listed(mux: Run, supervisor: FakeSupervisor) -> None:
    assert "pinned" in mux("models").stdout
    assert len(json.loads(mux("models", "--json", "--deployment", "Model").stdout)["models"]) == 3
    assert supervisor.received[-1].target == "/v1/models?deployment=Model"


@pytest.mark.parametrize("verb", ["load", "unload", "pin", "unpin"])
def test_models_are_changed(mux: Run, supervisor: FakeSupervisor, verb: str) -> None:
    supervisor.answers[f"POST /v1/models/{verb}"] = ModelsAnswer(models=model_infos()[:1])
    result = mux("models", verb, "1", "2", "--replica", "Model#EjYmnQ")
    assert result.exit_code == 0
    asked = supervisor.asked(ModelRequest)
    assert (asked.models, asked.replica, asked.deployment) == (["1", "2"], "Model#EjYmnQ", "")
    assert "1, 2" in result.stderr


def test_options_before_the_verb_count_too(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/models/pin"] = ModelsAnswer(models=[])
    result = mux("models", "-p", "shop", "--deployment", "Model", "--json", "pin", "1")
    assert json.loads(result.stdout) == {"models": []}
    assert supervisor.asked(ModelRequest).deployment == "Model"


def test_an_error_of_the_supervisor_is_told(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/models/load"] = errors.NoSuchThing("No replica 'x'.", hint="See mux status.")
    result = mux("models", "load", "1", "--replica", "x")
    assert (result.exit_code, result.stderr) == (8, "error: No replica 'x'.\nhint: See mux status.\n")


def test_scale(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/scale"] = [DONE]
    assert mux("scale", "Model=3", "Other=1", "--no-wait").exit_code == 0
    asked = supervisor.asked(ScaleRequest)
    assert (asked.replicas, asked.wait) == ({"Model": 3, "Other": 1}, False)


@pytest.mark.parametrize("count", ["Model", "Model=", "=3", "Model=many", "Model=-1"])
def test_a_count_that_is_none_is_a_usage_problem(mux: Run, supervisor: FakeSupervisor, count: str) -> None:
    assert mux("scale", count).exit_code == 2


def test_restart(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/restart"] = [Event(kind="restart", process="Model#EjYmnQ"), DONE]
    result = mux("restart", "Model")
    assert result.stderr == "Model#EjYmnQ: restarting\n'shop': done.\n"
    assert supervisor.asked(RestartRequest).deployments == ["Model"]


def test_wait(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/wait"] = [
        Event(kind="failed", code="not_ready", message="It was not ready within 2 s.")
    ]
    result = mux("wait", "--timeout", "2")
    assert result.exit_code == 6
    assert supervisor.asked(WaitRequest).timeout_s == 2


def test_down(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/down"] = [Event(kind="stopped", process="Model#EjYmnQ"), DONE]
    result = mux("down", "--timeout", "5")
    assert result.stderr == "Model#EjYmnQ: stopped\n'shop' is down.\n"
    assert supervisor.asked(DownRequest).timeout_s == 5


def test_explain(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["GET /v1/explain"] = ExplainAnswer(lines=["arrived", "model 3 was nowhere: case 4"])
    assert mux("explain", "CUpzhwUUNw").stdout == "arrived\nmodel 3 was nowhere: case 4\n"
    assert supervisor.received[-1].target == "/v1/explain?request_id=CUpzhwUUNw"
    mux("explain", "--model", "a/b c")
    assert supervisor.received[-1].target.startswith("/v1/explain?model=a%2Fb")


def test_explain_shows_the_latest_decisions(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["GET /v1/explain"] = ExplainAnswer(lines=[str(number) for number in range(60)])
    result = mux("explain", "abc")
    assert (result.stdout.splitlines()[0], len(result.stdout.splitlines())) == ("10", 50)
    assert result.stderr == "10 earlier ones are left out; -n -1 shows all.\n"
    assert len(mux("explain", "abc", "-n", "-1").stdout.splitlines()) == 60
    assert mux("explain", "abc", "-n", "0").stdout == ""


def test_explain_shows_what_else_could_have_been_chosen(mux: Run, supervisor: FakeSupervisor) -> None:
    victim = {"name": "1", "idle_s": 3.5, "uses": 1, "frequency": 0.993, "load_s": 0.2, "size_bytes": 0}
    other = {"name": "2", "idle_s": 0.6, "uses": 2, "frequency": 2.0, "load_s": 0.2, "size_bytes": 2**20}
    supervisor.answers["GET /v1/explain"] = ExplainAnswer(
        lines=["unloading model '1'", "loading model '3'"], records=[{"candidates": [victim, other]}, {}]
    )
    assert mux("explain", "--model", "3").stdout.splitlines() == [
        "unloading model '1'",
        "    chose 1: idle 3.5s, uses 1, frequency 0.993, load 0.2s",
        "    over  2: idle 0.6s, uses 2, frequency 2, load 0.2s, size 1.0 MiB",
        "loading model '3'",
    ]


def test_explain_of_nothing_remembered(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["GET /v1/explain"] = ExplainAnswer(lines=[])
    assert mux("explain", "abc").exit_code == 8
    assert mux("explain").exit_code == 2
    assert mux("explain", "abc", "--model", "3").exit_code == 2


def test_request_finds_the_address_and_the_header(mux: Run, supervisor: FakeSupervisor, web: WebServer) -> None:
    supervisor.answers["GET /v1/status"] = project_status(url=web.url)
    assert mux("request", "-m", "3").exit_code == 0
    assert web.received[0].headers["x-model"] == "3"


def test_deploy_prints_the_address_and_how_to_use_it(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [Event(kind="plan", changes=[CHANGE]), DONE]
    result = mux("deploy", "--timeout", "60")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "http://127.0.0.1:8000\n"
    assert result.stderr.splitlines() == [
        "~ Model: max_ongoing_requests 5 → 8",
        "'shop' is ready.",
        """  curl -H 'serve_multiplexed_model_id: 1' -d '{"inputs": [[1, 2, 3]]}' http://127.0.0.1:8000/""",
        """  mux request --model-id 1 -d '{"inputs": [[1, 2, 3]]}'""",
    ]
    asked = supervisor.asked(ApplyRequest)
    assert (asked.dry_run, asked.wait, asked.timeout_s) == (False, True, 60)
    assert asked.config["deployments"][0]["loader"] == "app:load_model"
    assert list(asked.digests["Model"]) == ["app.py"]
    assert "MUX_HOME" in asked.env


def test_deploy_as_json_is_the_events(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [Event(kind="plan", changes=[CHANGE]), DONE]
    kinds = [json.loads(line)["kind"] for line in mux("deploy", "--json").stdout.splitlines()]
    assert kinds == ["plan", "done"]


def test_deploy_without_waiting(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [Event(kind="done")]
    result = mux("deploy", "--no-wait")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "mux status" in result.stderr
    assert supervisor.asked(ApplyRequest).wait is False


def test_code_that_cannot_start_shows_the_users_traceback(mux: Run, supervisor: FakeSupervisor) -> None:
    failed = Event(kind="failed", code="could_not_start", message="Model could not start", traceback="File app.py\n")
    supervisor.answers["POST /v1/apply"] = [failed]
    result = mux("deploy")
    assert result.exit_code == 3
    assert result.stderr == "File app.py\n\nerror: Model could not start\n"


def test_a_bad_config_is_told_whole_and_nothing_is_started(mux: Run, shop: Project) -> None:
    shop.config_path.write_text("http: {prot: 1}\ndeployments: []\n")
    result = mux("deploy")
    assert result.exit_code == 4
    assert "mux.yaml:1:8: " in result.stderr
    assert "2 problems" in result.stderr
    assert not shop.control_socket.exists()


def test_a_dry_run_shows_changes_and_exits_with_ten(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [Event(kind="plan", changes=[CHANGE]), Event(kind="done")]
    result = mux("deploy", "--dry-run")
    assert (result.exit_code, result.stdout) == (10, "~ Model: max_ongoing_requests 5 → 8\n")
    assert supervisor.asked(ApplyRequest).dry_run is True
    result = mux("deploy", "--dry-run", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (10, {"changes": [CHANGE]})


def test_a_dry_run_without_changes_exits_with_zero(mux: Run, supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [Event(kind="plan"), Event(kind="done")]
    result = mux("deploy", "--dry-run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing would change.\n")


def test_a_dry_run_of_what_is_down_starts_nothing(mux: Run, shop: Project) -> None:
    result = mux("deploy", "--dry-run")
    assert result.exit_code == 10
    assert "+ Model" in result.stdout
    assert not shop.control_socket.exists()


def test_the_foreground_goes_with_no_other_way_of_waiting(mux: Run, shop: Project) -> None:
    assert mux("deploy", "--foreground", "--no-wait").exit_code == 2


def test_validate_says_what_is_in_it(mux: Run, shop: Project) -> None:
    assert "project 'shop', 1 deployment: Model" in mux("validate").stderr
    answer = json.loads(mux("validate", "--json").stdout)
    assert (answer["valid"], answer["deployments"]) == (True, ["Model"])


def test_validate_lists_every_problem(mux: Run, shop: Project) -> None:
    shop.config_path.write_text("http: {prot: 1}\ndeployments: []\n")
    result = mux("validate", "--json")
    assert result.exit_code == 4
    answer = json.loads(result.stdout)
    assert [problem["line"] for problem in answer["problems"]] == [1, 2]
    assert mux("validate", "missing.yaml").exit_code == 4


def test_schema_is_json(mux: Run) -> None:
    assert json.loads(mux("schema").stdout)["properties"]["deployments"]


def test_the_old_config_is_not_needed_for_logs(mux: Run, shop: Project) -> None:
    Path("mux.yaml").unlink()
    assert mux("logs", "-p", "shop").exit_code == 0
