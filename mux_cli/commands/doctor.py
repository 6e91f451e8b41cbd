"""``mux doctor``: check this machine for what mux needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mux_cli.console import put, put_json, wants_colour
from mux_cli.exits import ExitCode
from mux_cli.options import JsonOption, command, examples

if TYPE_CHECKING:
    from mux_cli.checks import Check
    from runtime.project import Project

app = command()


@app.command(epilog=examples("mux doctor", "mux doctor --json"))
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine for what mux needs: Python, packages, folders, disk, limits, old projects, the port.

    With a mux.yaml here or above, its port is checked too. Exits with 3 if something is missing.
    """
    from mux_cli.checks import machine
    from mux_cli.views import checks_text
    from runtime.project import home, known_projects, socket_home

    projects = list(known_projects())
    checks = [*machine(home(), socket_home(), projects), *_of_config(projects)]
    if as_json:
        put_json(checks)
    else:
        put(checks_text(checks, wants_colour(sys.stdout)))
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(ExitCode.COULD_NOT_START)


def _of_config(projects: list[Project]) -> list[Check]:
    """Check the nearest configuration and its port; without one, mux's default port."""
    import os

    from mux_cli.checks import Check, cpu_latency, port
    from mux_cli.projects import find_config, is_running
    from runtime.config import load_config
    from runtime.errors import ConfigError

    path = find_config(Path.cwd())
    if path is None:
        return [port("127.0.0.1", 8000, "")]
    try:
        config = load_config(path, os.environ).config
    except ConfigError as error:
        return [Check(name="config", verdict="fail", finding=str(error), hint=f"See 'mux validate {path}'.")]
    owner = next((p.name for p in projects if p.config_path == path.absolute() and is_running(p)), "")
    limit_us = config.http.cpu_latency_us
    return [
        Check(name="config", verdict="ok", finding=f"{path} is valid"),
        port(config.http.host, config.http.port, owner),
        *([] if limit_us is None else [cpu_latency(limit_us)]),
    ]
