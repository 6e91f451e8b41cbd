"""The supervisor in the calling process, for containers: a signal drains, and that is a success."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runtime.project import Project
from runtime.supervisor.api import ApplyRequest, Event
from runtime.supervisor.failures import from_event
from runtime.supervisor.supervisor import Supervisor, sole


def run_foreground(
    project: Project,
    request: ApplyRequest,
    on_event: Callable[[Event], None] = lambda event: None,
    make: Callable[[Project], Supervisor] = Supervisor,
) -> int:
    """Deploy, serve until SIGINT, SIGTERM or ``down``, drain, and return 0. Only in the main thread.

    ``on_event`` is given the events of the deploy. Raises what the deploy failed with, Locked if a supervisor
    runs already.
    """
    project.create()
    with sole(project):
        last = asyncio.run(make(project).run(first=request, on_event=on_event))
    if last is not None and last.kind == "failed" and last.code not in ("not_ready", "locked"):
        raise from_event(last)
    return 0
