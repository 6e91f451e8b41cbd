"""The children on record, so that a successor can end what a supervisor that died left behind."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from runtime.engines.engine import ChildProcess
from runtime.engines.local import write_private

CREATED_WITHIN_S: Final = 2.0  # the kernel's boot time, on which create times rest, is corrected by so much
KILL_TIMEOUT_S: Final = 5.0


class ChildRecord(msgspec.Struct, kw_only=True):
    """One child: its pid, which is its process group, and when it was created (a pid can be reused)."""

    name: str
    pid: int
    create_time: float


class Remains:
    """``children.json``: the children that live now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, children: Iterable[tuple[str, ChildProcess]]) -> None:
        """Replace the record."""
        records = [ChildRecord(name=n, pid=c.pid, create_time=c.create_time) for n, c in children]
        write_private(self._path, msgspec.json.encode(records))

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def sweep(self) -> list[str]:
        """Kill the recorded children that still live and wait for their end. Returns their names.

        A process is ended only if it was created when the record says: any other has merely the same pid.
        """
        try:
            records = msgspec.json.decode(self._path.read_bytes(), type=list[ChildRecord])
        except (FileNotFoundError, msgspec.DecodeError):
            return []
        killed = [record for record in records if _kill(record)]
        for record in killed:
            _await_end(record.pid)
        self.clear()
        return [record.name for record in killed]


def _kill(record: ChildRecord) -> bool:
    """Kill the group of a recorded child; return whether it still lived."""
    import psutil  # only a successor of a dead supervisor needs it this early

    try:
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.create_time) > CREATED_WITHIN_S:
            return False
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        os.killpg(record.pid, signal.SIGKILL)
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False
    return True


def _await_end(pid: int) -> None:
    """Wait until a process has ended, reaped by its parent or not; for at most ``KILL_TIMEOUT_S``."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # it has gone, or this kernel cannot: SIGKILL will have done it
        return
    try:
        select.select([pidfd], [], [], KILL_TIMEOUT_S)
    finally:
        os.close(pidfd)
