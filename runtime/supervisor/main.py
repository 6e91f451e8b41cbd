"""The entry of the supervisor process: ``python -P -m runtime.supervisor --config FILE``.

It is started before it is known whose it will be: it reads ``Orders`` from stdin, then leaves its starter.
"""

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
from runtime.supervisor.standby import Orders
from runtime.supervisor.supervisor import Supervisor, sole

LOCKED_EXIT = 7


def main(arguments: Sequence[str] | None = None, make: Callable[[Project], Supervisor] = Supervisor) -> int:
    """Supervise one project until it is taken down. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="runtime.supervisor", description=__doc__)
    parser.add_argument("--config", required=True, help="the project's file, for whoever lists processes")
    parser.add_argument("--ready-fd", type=int, required=True, help="a pipe that is told when it listens")
    options = parser.parse_args(arguments)
    told = sys.stdin.buffer.read()
    if not told:
        return 0  # its starter needs no supervisor after all
    orders = msgspec.json.decode(told, type=Orders)
    _detach(orders)
    project = opened(Path(orders.root), Path(orders.sockets))

    def tell(word: str) -> None:
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


def _detach(orders: Orders) -> None:
    """Leave the process that was started to its starter, which then has nobody to wait for."""
    if os.fork():
        os._exit(0)
    os.chdir(orders.root)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(orders.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd, name in ((null, 0), (output, 1), (output, 2)):
        os.dup2(fd, name)
    os.close(null)
    os.close(output)


def opened(root: Path, sockets: Path) -> Project:
    """Return the project whose state lies in ``root``."""
    record = msgspec.json.decode((root / "project.json").read_bytes(), type=ProjectRecord)
    return Project(record.name, Path(record.config_path), root, sockets)
