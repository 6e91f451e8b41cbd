"""A home of its own for every test, a runner of the real command tree, and small projects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from runtime.project import Project, project_for
from runtime.supervisor.api import ModelsAnswer
from tests.cli.fakes import FakeSupervisor, WebServer
from tests.cli.shapes import model_infos, project_status

Run = Callable[..., Result]
MakeProject = Callable[..., Project]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test alone, and a working folder without a mux.yaml above it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MUX_HOME", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for name in ("MUX_PROJECT", "MUX_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


@pytest.fixture
def mux() -> Run:
    """Run ``mux`` in this process: ``mux("status", "--json")``."""
    from mux_cli.tree import root

    runner = CliRunner()

    def run(*args: str, input: bytes | str | None = None, **env: str) -> Result:
        return runner.invoke(root, list(args), input=input, env=env, prog_name="mux")

    return run


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    """Make a known project, as a first deploy leaves it: a config file, a record, and what was deployed."""
    made: list[Project] = []

    def make(name: str = "shop", folder: str = "", **deployed: Any) -> Project:
        where = tmp_path / "projects" / (folder or name)
        where.mkdir(parents=True)
        (where / "mux.yaml").write_text("deployments: []\n")
        project = project_for(name, where / "mux.yaml")
        project.create()
        config = {"deployments": [{"name": "Model"}]} | deployed
        project.desired_file.write_bytes(msgspec.json.encode({"generation": 1, "config": config}))
        made.append(project)
        return project

    yield make
    for project in made:
        project.control_socket.unlink(missing_ok=True)
        project.sockets.rmdir()


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A small HTTP server that notes what it is sent and answers as it is told."""
    with WebServer() as server:
        yield server


@pytest.fixture
def shop(make_project: MakeProject, mux: Run, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a valid configuration; its folder is the current one."""
    project = make_project("shop", model_id={"header": "x-model"})
    monkeypatch.chdir(project.config_path.parent)
    project.config_path.unlink()
    assert mux("init").exit_code == 0
    return project


@pytest.fixture
def supervisor(shop: Project) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(shop.control_socket) as fake:
        fake.answers["GET /v1/status"] = project_status()
        fake.answers["GET /v1/models"] = ModelsAnswer(models=model_infos())
        yield fake
