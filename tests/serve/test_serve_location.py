"""Which project a script means, and the shape of ``serve.status()``."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import NoSuchThing, NotRunning
from runtime.project import Project, project_for
from runtime.serve.location import check_deployment, find_project, ingress_name
from runtime.serve.overview import from_project
from runtime.supervisor.api import DeploymentStatus, ProjectStatus, ReplicaStatus, RouterStatus


class Machine:
    """Projects of one user, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"MUX_HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder)}

    def deploy(self, name: str, config: str = "mux.yaml", *, running: bool = False) -> Project:
        path = self.folder / name / config
        path.parent.mkdir(exist_ok=True)
        path.touch()
        project = project_for(name, path, self.env)
        project.create()
        if running:
            project.supervisor_file.touch()
        return project


@pytest.fixture
def machine(short_dir: Path) -> Machine:
    return Machine(short_dir)


def test_the_environment_says_it_by_name_or_path(machine: Machine) -> None:
    one, two = machine.deploy("one"), machine.deploy("two")
    assert find_project({**machine.env, "MUX_PROJECT": "one"}, machine.folder) == one
    assert find_project({**machine.env, "MUX_PROJECT": str(two.config_path)}, machine.folder) == two
    with pytest.raises(NotRunning, match="called 'three'"):
        find_project({**machine.env, "MUX_PROJECT": "three"}, machine.folder)


def test_the_nearest_mux_yaml_says_it(machine: Machine) -> None:
    one = machine.deploy("one")
    machine.deploy("two")
    inside = one.config_path.parent / "notebooks"
    inside.mkdir()
    assert find_project(machine.env, inside) == one


def test_else_it_is_the_only_one_or_the_only_one_that_runs(machine: Machine) -> None:
    with pytest.raises(NotRunning, match="on this machine"):
        find_project(machine.env, machine.folder)
    one = machine.deploy("one")
    assert find_project(machine.env, machine.folder) == one
    machine.deploy("old")
    with pytest.raises(NotRunning, match=r"none of the 2 projects on this machine is running: old .*one"):
        find_project(machine.env, machine.folder)
    two = machine.deploy("two", running=True)
    assert find_project(machine.env, machine.folder) == two
    machine.deploy("three", running=True)
    with pytest.raises(NoSuchThing, match=r"two .*three|three .*two"):
        find_project(machine.env, machine.folder)


def test_names_are_read_from_what_was_deployed(machine: Machine) -> None:
    project = machine.deploy("one")
    with pytest.raises(NotRunning, match="not deployed"):
        check_deployment(project, "Model", "default")
    project.desired_file.write_text(
        '{"config": {"deployments": [{"name": "Model", "route_prefix": null}, {"name": "Front"},'
        ' {"name": "A", "application": "two"}, {"name": "B", "application": "two"}]}}'
    )
    check_deployment(project, "Model", "default")
    assert ingress_name(project, "default") == "Front"
    with pytest.raises(NoSuchThing, match="several deployments"):
        ingress_name(project, "two")
    project.desired_file.write_text("{")
    with pytest.raises(NotRunning, match="cannot be read"):
        ingress_name(project, "default")


def test_status_speaks_ray_serves_words() -> None:
    def deployment(name: str, state: str, application: str = "default", message: str = "") -> DeploymentStatus:
        return DeploymentStatus(
            name=name, application=application, route_prefix="/", state=state, want=2, ready=1, message=message
        )

    def replica(deployment: str, state: str) -> ReplicaStatus:
        return ReplicaStatus(id=f"{deployment}#x", deployment=deployment, index=0, pid=1, state=state)

    status = from_project(
        ProjectStatus(
            name="shop", config_path="/x", generation=1, state="ready", url="http://127.0.0.1:8000",
            pid=1, uptime_s=1.0,
            deployments=[
                deployment("A", "ready"), deployment("B", "starting"), deployment("C", "failed", "two", "no module"),
                deployment("D", "degraded", "three"), deployment("E", "ready", "four"),
            ],
            replicas=[replica("A", "ready"), replica("A", "ready"), replica("A", "draining"), replica("B", "starting")],
            routers=[RouterStatus(id="router-0", pid=2, state="ready")],
        )
    )  # fmt: skip
    assert status.proxies == {"router-0": "HEALTHY"}
    assert {name: app.status for name, app in status.applications.items()} == {
        "default": "DEPLOYING", "two": "DEPLOY_FAILED", "three": "UNHEALTHY", "four": "RUNNING",
    }  # fmt: skip
    first = status.applications["default"].deployments["A"]
    assert (first.status, first.replica_states) == ("HEALTHY", {"RUNNING": 2, "STOPPING": 1})
    assert status.applications["default"].deployments["B"].replica_states == {"STARTING": 1}
    assert status.applications["two"].message == "C: no module"
    assert status.url == "http://127.0.0.1:8000"
