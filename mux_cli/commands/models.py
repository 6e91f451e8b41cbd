"""``mux models``: the models in memory, and what an operator does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from mux_cli.options import DeploymentOption, JsonOption, ProjectOption, command, examples

app = command()

_ModelsArgument = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids.")]
_ReplicaOption = Annotated[
    str, typer.Option("--replica", metavar="ID", help="One replica, as Model#EjYmnQ; default: see above.")
]


@app.callback(
    invoke_without_command=True,
    epilog=examples("mux models", "mux models --json", "mux models load 3 4", "mux models pin 1 --deployment Model"),
)
def models(
    ctx: typer.Context,
    deployment: DeploymentOption = "",
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """List the models in memory, on each replica; load, unload, pin and unpin them."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = {"deployment": deployment, "as_json": as_json, "project": project}
        return
    from mux_cli.console import console, put_json
    from mux_cli.projects import resolve
    from mux_cli.views import models_table
    from runtime.supervisor.client import ControlClient

    answer = ControlClient(resolve(project)).models(deployment)
    if as_json:
        put_json(answer)
    else:
        console().print(models_table(answer.models))


def _verb(name: str, explanation: str, done: str) -> Callable[..., None]:
    """Return the command of one verb; the four differ in nothing but their words."""

    @app.command(name, help=explanation, epilog=examples(f"mux models {name} 3"))
    def run(
        ctx: typer.Context,
        ids: _ModelsArgument,
        deployment: DeploymentOption = "",
        replica: _ReplicaOption = "",
        as_json: JsonOption = False,
        project: ProjectOption = None,
    ) -> None:
        from mux_cli.console import console, put_json, say
        from mux_cli.projects import resolve
        from mux_cli.views import models_table
        from runtime.supervisor.api import ModelRequest
        from runtime.supervisor.client import ControlClient

        outer = ctx.obj or {}
        request = ModelRequest(models=ids, deployment=deployment or outer.get("deployment", ""), replica=replica)
        answer = ControlClient(resolve(project or outer.get("project"))).model_action(name, request)
        if as_json or outer.get("as_json"):
            put_json(answer)
            return
        if answer.models:
            console().print(models_table(answer.models))
        say(f"{done}: {', '.join(ids)}")

    return run


load = _verb("load", "Load models now, where the scheduler would, or on one replica.", "loaded")
unload = _verb("unload", "Unload models that are not in use, on every replica or on one.", "unloaded")
pin = _verb("pin", "Keep models in memory: never evict them, on every replica or on one.", "pinned")
unpin = _verb("unpin", "Let models be evicted again, on every replica or on one.", "unpinned")
