"""Options of code and YAML, and a deployment's life: constructors, reconfigure without a restart, ``__del__``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import Cli, gone
from tests.e2e.deployed import lines, project, until

pytestmark = pytest.mark.process

BORN = """
deployments:
  - {name: SyncBorn, import_path: "app:sync_born"%s}
  - {name: AsyncBorn, import_path: "app:async_born", route_prefix: /async}
"""
LIMITED = """
deployments:
  - {name: Limited, import_path: "app:limited", route_prefix: /limited%s}
"""


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "marks"
    path.touch()
    monkeypatch.setenv("MARKS", str(path))
    return path


@pytest.fixture
def life(tmp_path: Path, marks: Path, make_cli: Callable[[Path], Cli]) -> Callable[[str], Cli]:
    """Return a maker of a deployed project."""

    def make(yaml: str) -> Cli:
        cli = make_cli(project("life", yaml, tmp_path / "life"))
        cli.run("deploy", "mux.yaml")
        return cli

    return make


def test_constructors_reconfigure_and_the_end(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(BORN % "")
    first = cli.ask("m1")[1]
    assert (first["word"], first["config"]) == ("one", {"greeting": "from the code"})
    assert cli.ask(path="/async")[:2] == (200, "two")
    cli.ask("m2")

    project("life", BORN % ', user_config: {greeting: "from the YAML"}', cli.folder)
    cli.run("deploy", "mux.yaml")
    second = cli.ask("m1")[1]
    assert second == {**first, "config": {"greeting": "from the YAML"}}  # the pid too

    project("life", BORN % ', user_config: {greeting: "refused"}', cli.folder)
    refused = cli.run("deploy", "mux.yaml", code=3)
    assert "no such greeting" in refused.stderr
    assert 'app.py", line' in refused.stderr
    assert cli.ask("m1")[1] == second

    pids = cli.pids()
    cli.run("down")
    gone(pids)
    assert sorted(lines(marks)) == ["async deleted", "sync deleted", "unloaded m1", "unloaded m2"]


def test_a_constructor_that_raises_is_the_deploys_error_with_the_users_traceback(
    life: Callable[[str], Cli], tmp_path: Path, marks: Path, make_cli: Callable[[Path], Cli]
) -> None:
    folder = project("life", BORN % "", tmp_path / "broken")
    app = folder / "app.py"
    app.write_text(
        app.read_text().replace(
            "self.word = word\n        self.config", "raise OSError('no disk')\n        self.config"
        )
    )
    failed = make_cli(folder).run("deploy", "mux.yaml", code=3)
    assert "no disk" in failed.stderr
    assert "app.py" in failed.stderr
    assert "runtime/" not in failed.stderr.partition("Traceback")[2]


def peak_of(cli: Cli, marks: Path, enough: int) -> int:
    """Send ten requests at once, wait until ``enough`` run, and return how many have run at once at most."""
    url = cli.url() + "/limited"
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(requests.get, url, timeout=60) for _ in range(10)]
        until(lambda: sum(each["in_flight"] for each in cli.status()["replicas"]) >= enough, f"{enough} in flight")
        with marks.open("a") as file:
            file.write("go\n")
        return max(each.result().json().get("peak", 0) for each in answers)


def test_the_codes_options_hold_where_the_yaml_is_silent(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(LIMITED % ", max_queued_requests: 10, num_replicas: 1")
    assert peak_of(cli, marks, 2) == 2
    assert cli.ask(path="/limited/config")[1]["config"] == {"limit": 1}


def test_the_codes_number_of_replicas_holds_where_the_yaml_is_silent(life: Callable[[str], Cli]) -> None:
    cli = life(LIMITED % "")
    assert [each["state"] for each in cli.status()["replicas"]] == ["ready", "ready"]
    assert cli.status()["deployments"][0]["want"] == 2
    cli.run("deploy", "mux.yaml", "--dry-run")
    project("life", LIMITED % ", num_replicas: 1", cli.folder)
    assert "num_replicas 2 (by the code) → 1" in cli.run("deploy", "mux.yaml", "--dry-run", code=10).stdout


def test_the_codes_queue_holds_where_the_yaml_is_silent(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(LIMITED % ", num_replicas: 1")
    url = cli.url() + "/limited"
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(requests.get, url, timeout=60) for _ in range(4)]
        until(lambda: any(each.done() for each in answers), "the one that is too many")
        with marks.open("a") as file:
            file.write("go\n")
        assert sorted(each.result().status_code for each in answers) == [200, 200, 200, 503]


def test_the_yaml_overrides_the_code_by_deployment_name(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(LIMITED % ", num_replicas: 1, max_ongoing_requests: 7, max_queued_requests: 10, user_config: {limit: 9}")
    assert peak_of(cli, marks, 7) == 7
    assert cli.ask(path="/limited/config")[1]["config"] == {"limit": 9}


def test_a_yaml_value_that_is_the_default_overrides_the_code_as_well(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(LIMITED % ", num_replicas: 1, max_ongoing_requests: 5, max_queued_requests: -1, user_config: {}")
    assert peak_of(cli, marks, 5) == 5
    assert cli.ask(path="/limited/config")[1]["config"] == {}  # as when it is written later


def test_a_default_that_is_written_later_is_a_change(life: Callable[[str], Cli], marks: Path) -> None:
    cli = life(LIMITED % ", num_replicas: 1, max_queued_requests: 10")
    pid = cli.ask(path="/limited/config")[1]["pid"]
    project("life", LIMITED % ", num_replicas: 1, max_queued_requests: 10, max_ongoing_requests: 5", cli.folder)
    planned = cli.run("deploy", "mux.yaml", "--dry-run", code=10)
    assert "max_ongoing_requests 2 (by the code) → 5" in planned.stdout
    cli.run("deploy", "mux.yaml")
    assert peak_of(cli, marks, 5) == 5
    assert cli.ask(path="/limited/config")[1]["pid"] != pid  # how many run at once needs a new process


def test_a_default_that_is_written_later_is_given_to_what_runs(life: Callable[[str], Cli]) -> None:
    cli = life(LIMITED % ", num_replicas: 1")
    first = cli.ask(path="/limited/config")[1]
    project("life", LIMITED % ", num_replicas: 1, user_config: {}", cli.folder)
    cli.run("deploy", "mux.yaml")
    assert cli.ask(path="/limited/config")[1] == {"config": {}, "pid": first["pid"]}
