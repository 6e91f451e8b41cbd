"""Starts a supervisor that outlives the command that asks for it, or finds the one that runs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from runtime.engines.package import with_own_package
from runtime.errors import Locked, StartError
from runtime.project import Project
from runtime.supervisor.client import ControlClient

START_TIMEOUT_S: Final = 30.0
OUTPUT_TAIL_BYTES: Final = 8192

Command = Callable[[Project, int], Sequence[str]]


def supervisor_command(project: Project, ready_fd: int) -> list[str]:
    """Return the command line of a project's supervisor."""
    where = ["--root", str(project.root), "--sockets", str(project.sockets)]
    return [sys.executable, "-P", "-m", "runtime.supervisor", *where, "--detach", "--ready-fd", str(ready_fd)]


def ensure_supervisor(
    project: Project, env: Mapping[str, str], *, command: Command = supervisor_command
) -> ControlClient:
    """Return a client of the project's supervisor, started now unless one runs.

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
                _start(project, env, command)
                client = ControlClient(project)
    except filelock.Timeout:
        raise Locked(f"Another command has been starting {project.name!r} for {START_TIMEOUT_S:g} s.") from None
    return client


def _start(project: Project, env: Mapping[str, str], command: Command) -> None:
    project.supervisor_file.unlink(missing_ok=True)  # of one that died: its socket may lie elsewhere
    output = project.log_dir("supervisor") / "output.log"
    output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = output.stat().st_size if output.exists() else 0
    reader, writer = os.pipe()
    try:
        try:
            _spawn(project, env, command(project, writer), output, writer)
        finally:
            os.close(writer)
        word = _read_word(reader)
    finally:
        os.close(reader)
    if word == "ready":
        return
    if word == "locked":
        raise Locked(f"A supervisor of {project.name!r} holds its lock but does not answer.")
    written = output.read_bytes()[before:][-OUTPUT_TAIL_BYTES:].decode(errors="replace")
    raise StartError(f"The supervisor of {project.name!r} did not start.", traceback=written)


def _spawn(project: Project, env: Mapping[str, str], command: Sequence[str], output: Path, ready_fd: int) -> None:
    """Run a command that detaches itself."""
    with output.open("ab") as file:
        subprocess.run(
            command,
            check=False,  # it says by the pipe how it went
            timeout=START_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=project.root,
            env=with_own_package(env, str(project.root)),
            pass_fds=(ready_fd,),
            start_new_session=True,
        )


def _read_word(reader: int) -> str:
    """Return what the supervisor says of its start; empty if it ended, or said nothing in time."""
    readable, _, _ = select.select([reader], [], [], START_TIMEOUT_S)
    return os.read(reader, 64).decode() if readable else ""
