"""Broken YAML, in more than twenty ways: exit code 4, each problem with file:line:col and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli

pytestmark = pytest.mark.process

APP = "def load_model(model_id): ...\ndef predict(model, request): ...\n"
GOOD = "deployments:\n  - name: Model\n    loader: app:load_model\n    handler: app:predict\n"
MORE = GOOD.removeprefix("deployments:\n")

BROKEN = {
    "empty": ("", "1:1: the file is empty"),
    "a list": ("- a\n", "1:1: the file must hold keys, as 'deployments:'"),
    "a word": ("hello\n", "1:1: the file must hold keys"),
    "a tab": ("deployments:\n\t- name: x\n", "2:1: not YAML: found character that cannot start any token"),
    "an open bracket": ("deployments: [\n  {name: x\n", "2:3: not YAML: did not find expected ',' or '}'"),
    "no such alias": (GOOD + "    env: *nope\n", "5:10: not YAML: found undefined alias"),
    "two documents": (GOOD + "---\n", "5:1: not YAML: but found another document"),
    "an unknown key": (GOOD + "nmae: x\n", "5:1: unknown key 'nmae'; did you mean 'name'?"),
    "an unknown key of a deployment": (GOOD + "    num_replica: 2\n", "5:5: unknown key 'num_replica'"),
    "a key twice": (GOOD + "    loader: app:load_model\n", "5:5: key 'loader' is set twice; first on line 3"),
    "a wrong type": (GOOD + "    num_replicas: many\n", "5:19: num_replicas must be a whole number, not the text"),
    "true for a number": (GOOD + "    num_replicas: true\n", "5:19: num_replicas must be a whole number, not true"),
    "none of it": (GOOD + "    num_replicas: 0\n", "5:19: num_replicas must be at least 1"),
    "far too many": (GOOD + "    num_replicas: 100000\n", "5:19: num_replicas must be at most 1024"),
    "not a number": (GOOD + "    load_timeout_s: .nan\n", "5:21: .nan is not a finite number"),
    "a strange unit": (GOOD + "    load_timeout_s: 5 parsecs\n", "5:21: load_timeout_s: '5 parsecs' is not a duration"),
    "no name": ("deployments:\n  - loader: app:load_model\n", "2:5: 'name' is missing in deployments[0]"),
    "no deployments": ("name: x\n", "1:1: 'deployments' is missing"),
    "no such module": (GOOD.replace("app:load", "apq:load"), "3:13: loader 'apq:load_model': there is no module 'apq'"),
    "no such function": (GOOD.replace(":load_model", ":load_modl"), "did you mean 'load_model'?"),
    "two of one name": (GOOD + MORE, "5:11: two deployments are called 'Model'; the first is on line 2"),
    "two of one route": (GOOD + MORE.replace("Model", "Other", 1), "5:11: 'Other' has the route '/', as 'Model' has"),
    "both styles": (GOOD + "    import_path: app:Model\n", "3:5: 'Model' has both import_path and loader"),
    "a variable that is not set": (GOOD + "    env: {A: '${OWL}'}\n", "5:15: environment variable 'OWL' is not set"),
    "pins over the cap": (GOOD + "    pin: ['1', '2', '3']\n", "5:10: a replica would pin 3 models and can hold 3"),
    "a public host": ("http: {host: 0.0.0.0}\n" + GOOD, "1:14: http.host '0.0.0.0' can be reached from other machines"),
    "a tag that runs code": (GOOD + "    env: !!python/name:os.system\n", "5:10: the tag '!!python/name:os"),
    "a route of our own": (GOOD + "    route_prefix: /-/x\n", "5:19: route_prefix: '/-/x' is taken"),
}  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> Cli:
    (tmp_path / "app.py").write_text(APP)
    return make_cli(tmp_path)


@pytest.mark.parametrize(("text", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_with_its_place(cli: Cli, text: str, problem: str) -> None:
    (cli.folder / "mux.yaml").write_text(text)
    done = cli.run("validate", code=4)
    assert done.stdout == ""
    assert problem in done.stderr
    assert all(line.startswith(("mux.yaml:", "    ")) for line in done.stderr.splitlines()[:-1]), done.stderr
    assert done.stderr.splitlines()[-1].endswith("in mux.yaml")


def test_all_problems_come_at_once_and_nothing_is_started(cli: Cli) -> None:
    (cli.folder / "mux.yaml").write_text(GOOD + "    num_replica: 2\n    load: late\nhttp: {prt: 1}\n")
    told = cli.run("validate", code=4).stderr
    assert told.count("mux.yaml:") == 3
    assert told.endswith("3 problems in mux.yaml\n")
    assert cli.run("deploy", code=4).stderr == told
    assert cli.run("deploy", "--foreground", code=4).stderr == told
    assert "was never deployed" in cli.run("status", code=5).stderr


def test_a_file_that_is_not_there_or_no_text(cli: Cli) -> None:
    (cli.folder / "mux.yaml").write_bytes(GOOD.encode("utf-16"))
    assert "mux.yaml:1:1: the byte 0xff is not UTF-8; save the file as UTF-8" in cli.run("validate", code=4).stderr
    assert "error: there is no file '" in cli.run("deploy", "other.yaml", code=4).stderr


def test_a_broken_edit_leaves_what_runs_alone(cli: Cli) -> None:
    (cli.folder / "mux.yaml").write_text("http: {port: 0}\n" + GOOD)
    cli.run("deploy")
    pids = cli.pids()
    (cli.folder / "mux.yaml").write_text("http: {port: 0}\n" + GOOD + "    num_replica: 2\n")
    cli.run("deploy", code=4)
    assert cli.pids() == pids
