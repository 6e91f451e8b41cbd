"""Starts a supervisor that outlives the command that asks for it, or finds the one that runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from runtime.errors import Locked
from runtime.project import Project, known_projects
from runtime.supervisor.client import ControlClient
from runtime.supervisor.standby import START_TIMEOUT_S, Standby


def standby_for(config_path: Path, env: Mapping[str, str]) -> Standby | nullcontext[None]:
    """Return a process that can become the supervisor of a configuration; nothing where one seems to run."""
    if any(one.supervisor_file.exists() for one in known_projects(env) if one.config_path == config_path):
        return nullcontext()
    return Standby(config_path, env)


def ensure_supervisor(project: Project, env: Mapping[str, str], standby: Standby | None = None) -> ControlClient:
    """Return a client of the project's supervisor, started now unless one runs; ``standby`` becomes it, if given.

    Of two commands that start one at once, the second waits for the first and connects to what it started.
    Raises StartError with what the supervisor wrote if it does not start, Locked if the other is stuck.
    """
    client = ControlClient(project)
    if client.ping():
        return client
    import filelock  # not at the top: most commands find a supervisor

    project.create()
    turn = filelock.FileLock(project.root / "start.lock")
    try:
        with turn.acquire(timeout=START_TIMEOUT_S, poll_interval=0.02):
            client = ControlClient(project)
            if not client.ping():
                project.supervisor_file.unlink(missing_ok=True)  # of one that died: its socket may lie elsewhere
                with nullcontext(standby) if standby else Standby(project.config_path, env) as process:
                    process.begin(project)
                client = ControlClient(project)
    except filelock.Timeout:
        raise Locked(f"Another command has been starting {project.name!r} for {START_TIMEOUT_S:g} s.") from None
    return client
