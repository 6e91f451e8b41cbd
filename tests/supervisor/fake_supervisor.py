"""The real supervisor process with fake children and an impatient restart policy. Run as a script."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.core.restart import RestartPolicy
from runtime.engines.engine import Engine
from runtime.engines.local import LocalEngine
from runtime.link.control import ChildSpec
from runtime.project import Project
from runtime.supervisor.client import ControlClient
from runtime.supervisor.launch import ensure_supervisor
from runtime.supervisor.main import main
from runtime.supervisor.standby import Standby
from runtime.supervisor.supervisor import Supervisor

HERE = Path(__file__).parent


def fake_child(spec: ChildSpec, spec_file: Path) -> list[str]:
    return [sys.executable, "-P", str(HERE / "fake_child.py"), "--spec", str(spec_file)]


def impatient() -> RestartPolicy:
    return RestartPolicy(base_s=0.02, max_s=0.05, max_start_failures=3)


def make(project: Project, wrap: Callable[[Engine], Engine] = lambda engine: engine) -> Supervisor:
    return Supervisor(project, engine=wrap(LocalEngine(project.specs, fake_child)), policy=impatient)


def fake_supervisor(project: Project, env: Mapping[str, str]) -> ControlClient:
    """Return a client of the project's supervisor, which is started unless it runs."""
    with Standby(project.config_path, env, [sys.executable, "-P", str(HERE / "fake_supervisor.py")]) as standby:
        return ensure_supervisor(project, env, standby)


if __name__ == "__main__":
    sys.exit(main(make=make))
