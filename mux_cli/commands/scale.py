"""``mux scale``: set how many replicas a deployment has, until the next deploy."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.completions import scales
from mux_cli.options import JsonOption, NoWaitOption, ProjectOption, command, examples

app = command()


@app.command(epilog=examples("mux scale Model=3", "mux scale Model=3 Other=1 --no-wait"))
def scale(
    counts: Annotated[
        list[str], typer.Argument(metavar="NAME=COUNT...", autocompletion=scales, help="A deployment and its replicas.")
    ],
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Set how many replicas a deployment has. The next deploy sets it back to what the configuration says."""
    from mux_cli.progress import display, follow
    from mux_cli.projects import resolve
    from mux_cli.waiting import say_done, stop_waiting
    from runtime.supervisor.api import ScaleRequest
    from runtime.supervisor.client import ControlClient

    replicas = dict(split_count(text) for text in counts)
    found = resolve(project)
    with stop_waiting("scaling"):
        follow(ControlClient(found).scale(ScaleRequest(replicas=replicas, wait=not no_wait)), display(as_json))
    say_done(found.name, no_wait)


def split_count(text: str) -> tuple[str, int]:
    """Return the deployment and count of ``NAME=COUNT``; raises ``UsageProblem`` if it is none."""
    from mux_cli.exits import UsageProblem

    name, equals, count = text.partition("=")
    if not name or not equals or not count.isdecimal():
        raise UsageProblem(f"'{text}' does not say how many replicas.", hint="Write it as NAME=COUNT, as in Model=3.")
    return name, int(count)
