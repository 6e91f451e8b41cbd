"""``mux validate``: check a configuration and list every problem in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

app = command()


@app.command(epilog=examples("mux validate", "mux validate configs/mux.example.yaml", "mux validate --json"))
def validate(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A file, or a folder with a mux.yaml; default: the nearest.")
    ] = None,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Check a configuration and list every problem with file:line:col. Exits with 4 if there is one."""
    from mux_cli.console import put_json, say
    from mux_cli.exits import ExitCode
    from mux_cli.projects import config_path
    from runtime.config import load_config
    from runtime.errors import ConfigError

    path = config_path(config, project)
    try:
        loaded = load_config(path, os.environ)
    except ConfigError as error:
        if not as_json:
            raise
        problems = getattr(error, "problems", [])
        put_json({"valid": False, "path": str(path), "message": error.message, "problems": problems})
        raise typer.Exit(ExitCode.BAD_CONFIG) from error
    names = [deployment.name for deployment in loaded.config.deployments]
    if as_json:
        put_json({"valid": True, "path": str(path), "name": loaded.config.name, "deployments": names})
    else:
        what = f"{len(names)} deployment{'s' if len(names) != 1 else ''}: {', '.join(names)}"
        say(f"{path} is valid: project '{loaded.config.name}', {what}.")
