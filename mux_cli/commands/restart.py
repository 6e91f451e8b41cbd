"""``mux restart``: restart replicas one after the other, so that requests are served all the while."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.completions import deployments
from mux_cli.options import JsonOption, NoWaitOption, ProjectOption, command, examples

app = command()


@app.command(epilog=examples("mux restart", "mux restart Model"))
def restart(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", autocompletion=deployments, help="Deployments; default: all of them."),
    ] = None,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Restart replicas one after the other; each new one first loads what the old one held."""
    from mux_cli.progress import display, follow
    from mux_cli.projects import resolve
    from mux_cli.waiting import say_done, stop_waiting
    from runtime.supervisor.api import RestartRequest
    from runtime.supervisor.client import ControlClient

    found = resolve(project)
    with stop_waiting("the restart"):
        follow(
            ControlClient(found).restart(RestartRequest(deployments=names or [], wait=not no_wait)), display(as_json)
        )
    say_done(found.name, no_wait)
