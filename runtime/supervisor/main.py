"""The entry of the supervisor process: ``python -P -m runtime.supervisor --root FOLDER``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from runtime.errors import Locked
from runtime.project import Project, ProjectRecord
from runtime.supervisor.supervisor import Supervisor, sole

LOCKED_EXIT = 7


def main(arguments: Sequence[str] | None = None, make: Callable[[Project], Supervisor] = Supervisor) -> int:
    """Supervise one project until it is taken down. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="runtime.supervisor", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the project's folder of state")
    parser.add_argument("--sockets", type=Path, required=True, help="the project's folder of sockets")
    parser.add_argument("--ready-fd", type=int, help="a pipe that is told once the control socket listens")
    parser.add_argument("--detach", action="store_true", help="return at once, leaving it to itself")
    options = parser.parse_args(arguments)
    if options.detach and os.fork():
        os._exit(0)  # whoever started this has nobody to wait for
    project = opened(options.root, options.sockets)

    def tell(word: str) -> None:
        if options.ready_fd is not None:
            os.write(options.ready_fd, word.encode())
            os.close(options.ready_fd)

    try:
        with sole(project):
            asyncio.run(make(project).run(lambda: tell("ready")))
    except Locked as exc:
        print(exc.message, file=sys.stderr)
        tell("locked")
        return LOCKED_EXIT
    return 0


def opened(root: Path, sockets: Path) -> Project:
    """Return the project whose state lies in ``root``."""
    record = msgspec.json.decode((root / "project.json").read_bytes(), type=ProjectRecord)
    return Project(record.name, Path(record.config_path), root, sockets)
