"""``mux explain``: tell why a request or a model went where it went."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

app = command()


@app.command(epilog=examples("mux explain CUpzhwUUNw", "mux explain --model 3"))
def explain(
    request_id: Annotated[
        str | None, typer.Argument(metavar="REQUEST_ID", help="As in the x-request-id header and in the logs.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="ID", help="A model instead.")] = None,
    last: Annotated[
        int, typer.Option("-n", min=-1, metavar="N", help="Only the last N decisions; -1: all that are remembered.")
    ] = 50,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Tell why a request or a model went where it went, in the words of the decisions that were taken."""
    from mux_cli.console import put, put_json, say
    from mux_cli.exits import UsageProblem
    from mux_cli.projects import resolve
    from runtime.errors import NoSuchThing
    from runtime.supervisor.client import ControlClient

    if (request_id is None) == (model is None):
        raise UsageProblem("Explain one thing.", hint="Either 'mux explain REQUEST_ID' or 'mux explain --model ID'.")
    answer = ControlClient(resolve(project)).explain(request_id=request_id or "", model=model or "")
    if as_json:
        put_json(answer)
        return
    if not answer.lines:
        what = f"request '{request_id}'" if request_id else f"model '{model}'"
        raise NoSuchThing(f"Nothing is remembered of {what}.", hint="Only recent decisions are kept; see 'mux logs'.")
    shown = answer.lines if last < 0 else answer.lines[max(0, len(answer.lines) - last) :]
    for line in shown:
        put(line)
    if len(shown) < len(answer.lines):
        say(f"{len(answer.lines) - len(shown)} earlier ones are left out; -n -1 shows all.")
