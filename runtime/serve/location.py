"""Which deployed project a script means: MUX_PROJECT, the ``mux.yaml`` above the working folder, or the only one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from runtime.errors import NoSuchThing, NotRunning
from runtime.project import Project, known_projects

CONFIG_NAMES: Final = ("mux.yaml", "mux.yml")


class _DesiredDeployment(msgspec.Struct):
    name: str
    application: str = "default"
    route_prefix: str | None = "/"


class _DesiredConfig(msgspec.Struct):
    deployments: list[_DesiredDeployment]


def find_project(env: Mapping[str, str] = os.environ, start: Path | None = None) -> Project:
    """Return the project. Raises ``NotRunning`` if none can be meant, ``NoSuchThing`` where several run."""
    known = list(known_projects(env))
    wanted = env.get("MUX_PROJECT", "")
    if wanted and (os.sep in wanted or wanted.endswith((".yaml", ".yml"))):
        return _one([p for p in known if p.config_path == Path(wanted).absolute()], f"of {wanted}", env)
    if wanted:
        return _one([p for p in known if p.name == wanted], f"called {wanted!r}", env)
    nearest = _nearest_config((start or Path.cwd()).absolute())
    if nearest is not None:
        return _one([p for p in known if p.config_path == nearest], f"of {nearest}", env)
    return _one(known, "on this machine", env)


def _one(fitting: list[Project], which: str, env: Mapping[str, str]) -> Project:
    if not fitting:
        raise NotRunning(f"no project {which} was deployed", hint="deploy it with `mux deploy mux.yaml`")
    running = [project for project in fitting if project.supervisor_file.exists()]
    candidates = running or fitting
    if len(candidates) > 1:
        names = ", ".join(f"{project.name} ({project.config_path})" for project in candidates)
        if not running:
            raise NotRunning(f"none of the {len(candidates)} projects {which} is running: {names}")
        raise NoSuchThing(f"{len(candidates)} projects {which} fit: {names}", hint="say which with MUX_PROJECT")
    return candidates[0]


def _nearest_config(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        for name in CONFIG_NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def ingress_name(project: Project, app_name: str) -> str:
    """Return the deployment that answers an application's HTTP requests. Raises ``NoSuchThing``."""
    deployments = _deployments(project)
    own = [deployment for deployment in deployments if deployment.application == app_name]
    routed = [deployment for deployment in own if deployment.route_prefix is not None] or own
    if not routed:
        known = ", ".join(sorted({deployment.application for deployment in deployments})) or "none"
        raise NoSuchThing(f"{project.name} has no application {app_name!r}", hint=f"its applications: {known}")
    if len(routed) > 1:
        names = ", ".join(deployment.name for deployment in routed)
        raise NoSuchThing(
            f"application {app_name!r} answers on several deployments: {names}",
            hint="name one: serve.get_deployment_handle(...)",
        )
    return routed[0].name


def check_deployment(project: Project, name: str, app_name: str) -> None:
    """Raise ``NoSuchThing`` unless the project has a deployment ``name`` in application ``app_name``."""
    deployments = _deployments(project)
    if any(deployment.name == name and deployment.application == app_name for deployment in deployments):
        return
    known = ", ".join(f"{deployment.name} (app_name={deployment.application!r})" for deployment in deployments)
    raise NoSuchThing(f"{project.name} has no deployment {name!r} in {app_name!r}", hint=f"it has: {known}")


def _deployments(project: Project) -> list[_DesiredDeployment]:
    try:
        raw = project.desired_file.read_bytes()
    except FileNotFoundError as exc:
        raise NotRunning(f"{project.name} is not deployed", hint="deploy it with `mux deploy`") from exc
    return _deployed_in(raw, project)


def _deployed_in(raw: bytes, project: Project) -> list[_DesiredDeployment]:
    class Stored(msgspec.Struct):
        config: _DesiredConfig

    try:
        return msgspec.json.decode(raw, type=Stored).config.deployments
    except msgspec.DecodeError as exc:
        raise NotRunning(f"{project.desired_file} cannot be read: {exc}", hint="deploy the project again") from exc
