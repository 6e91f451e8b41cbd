"""Which project a command means: ``-p``, MUX_PROJECT, the ``mux.yaml`` above us, or the only one there is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mux_cli.exits import UsageProblem
from runtime.errors import NoSuchThing, NotRunning
from runtime.project import Project, known_projects

CONFIG_NAMES = ("mux.yaml", "mux.yml")


def find_config(start: Path) -> Path | None:
    """Return the nearest ``mux.yaml`` (or ``mux.yml``) in ``start`` or a folder above it."""
    for folder in (start, *start.parents):
        for name in CONFIG_NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def config_path(given: Path | None, project: str | None, env: Mapping[str, str] = os.environ) -> Path:
    """Return the absolute path of the configuration to work on: the one given, the project's, or the nearest.

    Raises ``UsageProblem`` where there is none, ``NoSuchThing`` for a project that is not known.
    """
    if given is not None:
        if given.is_dir():
            return find_in(given)
        return given.absolute()
    if project:
        return resolve(project, env=env).config_path
    found = find_config(Path.cwd())
    if found is None:
        raise UsageProblem(
            f"There is no mux.yaml in {Path.cwd()} or above it.",
            hint="Name the file (mux deploy path/to/config.yaml), or write one with 'mux init'.",
        )
    return found


def find_in(folder: Path) -> Path:
    """Return the configuration that lies directly in ``folder``; raises ``UsageProblem`` if none does."""
    for name in CONFIG_NAMES:
        if (folder / name).is_file():
            return (folder / name).absolute()
    raise UsageProblem(f"{folder} is a folder without a mux.yaml.", hint=f"Write one with 'mux init {folder}'.")


def is_running(project: Project) -> bool:
    """Return whether a supervisor answers on the project's control socket."""
    from runtime.supervisor.client import ControlClient

    return ControlClient(project).ping()


def resolve(given: str | None, *, start: Path | None = None, env: Mapping[str, str] = os.environ) -> Project:
    """Return the project a command means. ``given`` is ``-p``: a name, or the path of a config file or its folder.

    Raises ``NoSuchThing`` for a name nobody knows, ``UsageProblem`` where several fit, and ``NotRunning`` for a
    configuration that was never deployed.
    """
    known = list(known_projects(env))
    start = start or Path.cwd()
    if given and (os.sep in given or given in (".", "..") or given.endswith((".yaml", ".yml"))):
        path = Path(given)
        return _of_config(find_in(path) if path.is_dir() else path.absolute(), known)
    if given:
        return _of_name(given, known, find_config(start))
    nearest = find_config(start)
    if nearest is not None:
        return _of_config(nearest.absolute(), known)
    return _only_one(known)


def _of_config(path: Path, known: list[Project]) -> Project:
    fitting = [project for project in known if project.config_path == path]
    if not fitting:
        raise NotRunning(f"The project of {path} was never deployed.", hint=f"Start it with 'mux deploy {path}'.")
    if len(fitting) == 1:
        return fitting[0]
    running = [project for project in fitting if is_running(project)]
    if len(running) == 1:
        return running[0]
    return max(running or fitting, key=lambda project: project.record_file.stat().st_mtime)


def _of_name(name: str, known: list[Project], nearest: Path | None) -> Project:
    fitting = [project for project in known if project.name == name]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        names = ", ".join(sorted({project.name for project in known}))
        raise NoSuchThing(
            f"There is no project named '{name}'.",
            hint=f"Known: {names}." if names else "None was deployed yet: 'mux deploy path/to/mux.yaml'.",
        )
    here = [project for project in fitting if nearest is not None and project.config_path == nearest.absolute()]
    if len(here) == 1:
        return here[0]
    raise UsageProblem(
        f"{len(fitting)} projects are named '{name}':\n{_listing(fitting)}",
        hint=f"Name the file instead, as in -p {fitting[0].config_path}",
    )


def _only_one(known: list[Project]) -> Project:
    if not known:
        raise NotRunning(
            "No project was deployed yet, and there is no mux.yaml here or above.",
            hint="Begin with 'mux init', then 'mux deploy'.",
        )
    present = [project for project in known if project.config_path.exists() or is_running(project)]
    if len(known) == 1 or len(present) == 1:
        return (present or known)[0]
    raise UsageProblem(
        f"Which project? There is no mux.yaml here or above, and several are known:\n{_listing(known)}",
        hint="Say which with -p NAME, or set MUX_PROJECT.",
    )


def _listing(projects: Iterable[Project]) -> str:
    rows = [(p.name, "running" if is_running(p) else "down", str(p.config_path)) for p in projects]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {state.ljust(7)}  {path}" for name, state, path in rows)
