"""``mux status``: deployments, replicas and routers, once or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from runtime.supervisor.api import ProjectStatus

app = command()


@app.command(epilog=examples("mux status", "mux status --watch", "mux status --json | jq .url"))
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every second until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Show deployments, replicas and routers. Exits with 5 if the project is not running."""
    from mux_cli.console import console, put_json, put_json_line
    from mux_cli.live import repeat
    from mux_cli.projects import resolve
    from mux_cli.views import status_view
    from runtime.supervisor.client import ControlClient

    found = resolve(project)

    def read() -> ProjectStatus:
        return ControlClient(found).status()

    if watch and as_json:
        repeat(lambda: put_json_line(read()))
    elif watch:
        from mux_cli.live import live

        live(lambda _: status_view(read()))
    elif as_json:
        put_json(read())
    else:
        console().print(status_view(read()))
