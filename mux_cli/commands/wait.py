"""``mux wait``: wait until everything is ready."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

app = command()


@app.command(epilog=examples("mux deploy --no-wait && mux wait --timeout 120"))
def wait(
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long; default: no limit."),
    ] = None,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Wait until everything that was deployed is ready. Exits with 6 if it is not in time."""
    from mux_cli.console import say
    from mux_cli.progress import display, follow
    from mux_cli.projects import resolve
    from mux_cli.waiting import stop_waiting
    from runtime.supervisor.api import WaitRequest
    from runtime.supervisor.client import ControlClient

    found = resolve(project)
    with stop_waiting("the deployment"):
        follow(ControlClient(found).wait(WaitRequest(timeout_s=timeout_s)), display(as_json))
    say(f"'{found.name}' is ready.")
