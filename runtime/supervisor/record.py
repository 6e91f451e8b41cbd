"""``supervisor.json``: who runs the project, and where to reach it."""

from __future__ import annotations

import msgspec

from runtime.project import Project


class SupervisorRecord(msgspec.Struct, kw_only=True):
    """``control_socket``: where it listens, whatever the XDG folders of the shell that asks."""

    pid: int
    create_time: float
    version: str
    control_socket: str = ""


def read_record(project: Project) -> SupervisorRecord | None:
    """Return the record; None if there is none. That it exists does not mean that the supervisor lives."""
    try:
        return msgspec.json.decode(project.supervisor_file.read_bytes(), type=SupervisorRecord)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
