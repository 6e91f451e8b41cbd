"""The budgets of a config on real processes, with two routers: one load, idle models go, pins and preloads stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cli
from tests.e2e.deployed import project, until
from tests.e2e.load import ask

pytestmark = pytest.mark.process

YAML = """
deployments:
  - name: Model
    loader: app:load_model
    handler: app:predict
    num_replicas: 2
    max_num_models_per_replica: 3
    pin: [pinned]
    preload: [early]
    copies: 1
    idle_unload_s: 1
    env: {LOAD_S: "0.3", WORK_S: "0.01"}
"""


def held(cli: Cli) -> list[str]:
    """Return the models in memory, one entry for each copy."""
    return sorted(
        one["model"] for one in json.loads(cli.run("models", "--json").stdout)["models"] if one["state"] == "resident"
    )


def loads(cli: Cli, model: str) -> int:
    return sum('"model.loaded"' in line and f'"{model}"' in line for line in cli.logs("--json").splitlines())


def test_budgets_hold_on_real_processes(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> None:
    cli = make_cli(project("timed", YAML, tmp_path / "p"))
    yaml = cli.folder / "mux.yaml"
    yaml.write_text(yaml.read_text().replace("http: {port: 0}", "http: {port: 0, routers: 2}"))
    cli.run("deploy")
    url = cli.url()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(url, "/", "first"), range(50)))
    assert {answer.status for answer in answers} == {200}
    waits = [float(answer.headers["x-mux-queue-ms"]) for answer in answers]
    told: set[Any] = {answer.headers.get("x-mux-load-ms") for answer in answers}
    assert len(told - {None}) == 1, "one load is what everybody waited for"
    assert float(max(told - {None})) <= max(waits)  # all of them may have come before it began
    until(lambda: held(cli) == ["pinned"], "what is idle goes, what is pinned stays")
    assert [loads(cli, model) for model in ("pinned", "early")] == [1, 1]
    cli.run("down")
