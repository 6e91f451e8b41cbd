"""A supervisor's process before it is told whose it is: it imports its code while its starter reads the config."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from runtime.engines.package import with_own_package
from runtime.errors import Locked, StartError
from runtime.project import Project

COMMAND: Final = (sys.executable, "-P", "-m", "runtime.supervisor")
START_TIMEOUT_S: Final = 30.0
OUTPUT_TAIL_BYTES: Final = 8192


class Orders(msgspec.Struct, frozen=True):
    """What a supervisor is told on its stdin, once. It ends if it is told nothing."""

    root: str  # the project's folder of state
    sockets: str
    output: str  # the file that takes its stdout and stderr


class Standby:
    """A process that has yet to become a supervisor; ``close`` ends one that was not told to."""

    def __init__(self, config_path: Path, env: Mapping[str, str], command: Sequence[str] = COMMAND) -> None:
        """``config_path`` is for whoever reads the list of processes."""
        self._ready, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, "--config", str(config_path), "--ready-fd", str(writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,  # until it is told of a file
                stderr=subprocess.STDOUT,
                cwd="/",
                env=with_own_package(env, "/"),
                pass_fds=(writer,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._ready)
            raise
        finally:
            os.close(writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, project: Project) -> None:
        """Make it the supervisor of ``project``; return when it answers.

        Raises ``StartError`` with what it wrote if it does not start, ``Locked`` if another holds the project's lock.
        """
        output = project.log_dir("supervisor") / "output.log"
        output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = output.stat().st_size if output.exists() else 0
        said = self._tell(Orders(str(project.root), str(project.sockets), str(output)))
        word = self._hear()
        if word == "ready":
            return
        if word == "locked":
            raise Locked(f"A supervisor of {project.name!r} holds its lock but does not answer.")
        said += output.read_bytes()[before:] if output.exists() else b""
        told = said[-OUTPUT_TAIL_BYTES:].decode(errors="replace")
        raise StartError(f"The supervisor of {project.name!r} did not start.", traceback=told)

    def close(self) -> None:
        """End the process, unless it has become a supervisor: that one has left it to itself."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        os.close(self._ready)

    def _tell(self, orders: Orders) -> bytes:
        """Return what the process wrote until it had heard its orders, or ended."""
        try:
            said, _ = self._process.communicate(msgspec.json.encode(orders), timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        return said or b""

    def _hear(self) -> str:
        """Return what the supervisor says of its start; empty if it ended, or said nothing in time."""
        readable, _, _ = select.select([self._ready], [], [], START_TIMEOUT_S)
        return os.read(self._ready, 64).decode() if readable else ""
