"""``mux down``: stop a project and leave nothing running."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from runtime.supervisor.record import SupervisorRecord

app = command()
EXIT_TIMEOUT_S: Final = 5.0


@app.command(epilog=examples("mux down", "mux down -p shop --timeout 5"))
def down(
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0,
            metavar="SECONDS",
            help="How long running requests may take; default: each deployment's graceful_shutdown_timeout_s.",
        ),
    ] = None,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Stop a project: finish what runs, unload every model, leave nothing running. Its logs stay.

    A project that is not running is what was wanted: that exits with 0.
    """
    from mux_cli.console import say
    from mux_cli.progress import display, follow
    from mux_cli.projects import resolve
    from mux_cli.waiting import stop_waiting
    from runtime.supervisor.api import DownRequest
    from runtime.supervisor.client import ControlClient
    from runtime.supervisor.record import read_record

    found = resolve(project)
    client = ControlClient(found)
    if not client.ping():
        say(f"'{found.name}' is not running.")
        return
    record = read_record(found)
    with stop_waiting("the shutdown"):
        follow(client.down(DownRequest(timeout_s=timeout_s)), display(as_json))
        if record is not None:
            _await_end(record)
    say(f"'{found.name}' is down.")


def _await_end(record: SupervisorRecord) -> None:
    """Wait until the supervisor has ended: it says that all is down a moment before."""
    import psutil

    with suppress(psutil.Error):  # it has gone, or takes its time
        process = psutil.Process(record.pid)
        if record.pid != os.getpid() and abs(process.create_time() - record.create_time) < 2.0:
            process.wait(EXIT_TIMEOUT_S)
