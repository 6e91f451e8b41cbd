"""``mux down``: stop a project and leave nothing running."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

app = command()


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

    found = resolve(project)
    client = ControlClient(found)
    if not client.ping():
        say(f"'{found.name}' is not running.")
        return
    with stop_waiting("the shutdown"):
        follow(client.down(DownRequest(timeout_s=timeout_s)), display(as_json))
    say(f"'{found.name}' is down.")
