"""``mux logs``: show and follow the logs of all processes as one story, also of a project that is down."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mux_cli.completions import processes
from mux_cli.console import put, say, wants_colour
from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.observe.reader import LogFilter
    from runtime.observe.record import LogRecord
    from runtime.project import Project

app = command()

DEFAULT_LAST = 100


class Level(StrEnum):
    """How severe a record is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@app.command(
    epilog=examples(
        "mux logs -f",
        "mux logs Model -n 20",
        "mux logs Model#EjYmnQ --since 10m --level warning",
        "mux logs --model 3 --grep 'oading model'",
        "mux logs --json --since 1h | jq .msg",
    )
)
def logs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", autocompletion=processes, help="Deployment, replica or process; default: all."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")] = False,
    last: Annotated[
        int | None,
        typer.Option(
            "-n", min=-1, metavar="N", help=f"The last N lines; default {DEFAULT_LAST}, or all with --since. -1: all."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="As 30s, 10m, 2h, or 2026-05-24T01:19:03.")
    ] = None,
    level: Annotated[
        Level | None, typer.Option("--level", case_sensitive=False, help="This level and the more severe ones.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", metavar="ID", help="Only what is about this model.")] = "",
    grep: Annotated[
        str, typer.Option("--grep", metavar="REGEX", help="Only lines in which the regular expression is found.")
    ] = "",
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Show and follow the logs of all processes as one story, also of a project that is down.

    Colours tell replicas apart, on a terminal only.
    """
    from mux_cli.projects import resolve
    from runtime.observe.reader import LogFilter

    found = resolve(project)
    _check_pattern(grep)
    if last is None and since is None:
        last = DEFAULT_LAST
    wanted = LogFilter(
        names=(name,) if name else (),
        since=None if since is None else moment(since, time.time()),
        level=level.value.upper() if level else "",
        model=model,
        grep=grep,
        last=None if last == -1 else last,
    )
    if follow and name and not is_known(found, name):
        say(f"Nothing was logged by '{name}' so far; waiting for it.")
    count = _print(_records(found.logs, wanted, follow), as_json, at_once=follow or sys.stdout.isatty())
    if not count:
        _tell_nothing(found, name)


def _check_pattern(grep: str) -> None:
    import re

    from mux_cli.exits import UsageProblem

    try:
        re.compile(grep)
    except re.error as exc:
        raise UsageProblem(f"--grep: {grep!r} is not a regular expression: {exc}.") from exc


def moment(text: str, now: float) -> float:
    """Return the time that ``--since`` means, in seconds since the epoch: a length of time back, or a date."""
    from mux_cli.quantities import seconds

    try:
        return datetime.fromisoformat(text).timestamp() if "-" in text else now - seconds(text)
    except ValueError as exc:
        from mux_cli.exits import UsageProblem

        raise UsageProblem(f"--since: '{text}' is no time.", hint="Write 10m, or 2026-05-24T01:19:03.") from exc


def _records(folder: Path, wanted: LogFilter, follow: bool) -> Iterator[LogRecord]:
    if follow:
        from runtime.observe.follow import follow_logs

        return follow_logs(folder, wanted, stop=lambda: False)
    from runtime.observe.reader import read_logs

    return read_logs(folder, wanted)


def _print(records: Iterator[LogRecord], as_json: bool, *, at_once: bool) -> int:
    from runtime.observe.record import encode
    from runtime.observe.text import render

    colour = wants_colour(sys.stdout)
    count = 0
    for record in records:
        put(encode(record).decode().rstrip("\n") if as_json else render(record, colour))
        count += 1
        if at_once:
            sys.stdout.flush()
    return count


def is_known(project: Project, name: str) -> bool:
    """Return whether ``name`` was ever deployed or has logs: a deployment, a process or a replica's id."""
    from mux_cli.deployed import deployed_config

    if any(deployment.name == name for deployment in deployed_config(project).deployments):
        return True
    folders = [path.name for path in project.logs.iterdir()] if project.logs.is_dir() else []
    plain = name.replace("#", "-")
    return any(plain == folder or folder.endswith(f"-{plain}") or folder.startswith(f"{plain}-") for folder in folders)


def _tell_nothing(project: Project, name: str | None) -> None:
    from mux_cli.deployed import deployed_config
    from runtime.errors import NoSuchThing

    if name and not is_known(project, name):
        known = ", ".join(deployment.name for deployment in deployed_config(project).deployments)
        hint = f"Deployments: {known}. See 'mux status' for replicas." if known else "See 'mux status'."
        raise NoSuchThing(f"There is no deployment, replica or process named '{name}'.", hint=hint)
    say("No log line fits.")
