"""``mux deploy``: start a project, or bring a running one to its configuration."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from runtime.supervisor.api import ApplyRequest, Event
    from runtime.supervisor.standby import Standby

app = command()


@app.command(
    epilog=examples(
        "mux deploy",
        "mux deploy config.yaml --timeout 120",
        "mux deploy --dry-run         # what would change; exits with 10 if anything would",
        "mux deploy --foreground      # in a container: stays, drains on SIGTERM or Ctrl-C",
    )
)
def deploy(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A file, or a folder with a mux.yaml; default: the nearest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is ready.")] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait until it is ready.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Be the supervisor, until SIGTERM or Ctrl-C; its logs go to stdout.")
    ] = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Start a project, or bring a running one to its configuration. Only what changed is touched.

    Waits until everything is ready, then prints the address. Exits with 3 and your own traceback if your code cannot
    start, with 4 if the configuration is wrong, with 6 if it is not ready in time.
    """
    from mux_cli.exits import UsageProblem
    from mux_cli.projects import config_path
    from runtime.supervisor.launch import standby_for

    if foreground and (dry_run or no_wait or as_json or timeout_s is not None):
        raise UsageProblem("--foreground goes with none of --dry-run, --no-wait, --timeout and --json.")
    path = config_path(config, project)
    with nullcontext() if foreground or dry_run else standby_for(path, os.environ) as standby:
        name, request = read_request(path)
        _check_name(name, path)
        request.dry_run, request.wait, request.timeout_s = dry_run, not no_wait, timeout_s
        if foreground:
            _in_foreground(name, path, request)
        elif dry_run:
            _plan(name, path, request, as_json)
        else:
            _apply(name, path, request, as_json, standby)


def read_request(path: Path) -> tuple[str, ApplyRequest]:
    """Return the project's name and what to apply: the configuration, this shell's environment, the code's digests.

    Raises ``ConfigError`` with every problem.
    """
    from runtime.config import code_digests, load_config
    from runtime.supervisor.api import ApplyRequest

    loaded = load_config(path, os.environ)
    digests = code_digests(loaded.config, path.parent)
    config = loaded.config.model_dump(mode="json", exclude_unset=True)  # what is not written, the code may say
    request = ApplyRequest(config=config, env=dict(os.environ), digests=digests)
    return loaded.config.name, request


def _check_name(name: str, path: Path) -> None:
    """Refuse a configuration that runs under another name: it would be two projects with one address."""
    from mux_cli.exits import UsageProblem
    from mux_cli.projects import is_running
    from runtime.project import known_projects

    for other in known_projects():
        if other.config_path == path and other.name != name and is_running(other):
            raise UsageProblem(
                f"{path} runs as '{other.name}' and is now named '{name}'.",
                hint=f"Take it down first (mux down -p {other.name}), or keep its name.",
            )


def _apply(name: str, path: Path, request: ApplyRequest, as_json: bool, standby: Standby | None) -> None:
    from mux_cli.console import say
    from mux_cli.progress import display, follow
    from mux_cli.waiting import stop_waiting
    from runtime.project import project_for
    from runtime.supervisor.launch import ensure_supervisor

    client = ensure_supervisor(project_for(name, path), request.env, standby)
    with stop_waiting("the deployment"):
        done = follow(client.apply(request), display(as_json))
    if as_json:
        return
    if not request.wait:
        say(f"'{name}' is starting. See 'mux status'.")
    else:
        _tell_ready(name, done, request)


def _tell_ready(name: str, done: Event, request: ApplyRequest) -> None:
    """Print the address on stdout, and how to use it on stderr."""
    from mux_cli.console import put, say

    say(f"'{name}' is ready.")
    if done.status is None:
        return
    put(done.status.url)
    for line in usage_lines(done.status.url, request):
        say(f"  {line}")


def usage_lines(url: str, request: ApplyRequest) -> list[str]:
    """Return a curl line and a ``mux request`` line that can be pasted, for the first deployment with a route."""
    import msgspec

    from mux_cli.deployed import DeployedConfig

    config = msgspec.convert(request.config, DeployedConfig)
    first = next((one for one in config.deployments if one.route_prefix), None)
    if first is None or first.route_prefix is None:
        return []
    model = next(iter([*first.pin, *first.preload]), "1")
    body = """ -d '{"inputs": [[1, 2, 3]]}'""" if first.loader else ""
    path = "" if first.route_prefix == "/" else f" {first.route_prefix}"
    return [
        f"curl -H '{config.model_id.header}: {model}'{body} {url.rstrip('/')}{first.route_prefix}",
        f"mux request{path} --model-id {model}{body}",
    ]


def _plan(name: str, path: Path, request: ApplyRequest, as_json: bool) -> None:
    """Show what would change, and exit with 10 if anything would. Nothing is started for that."""
    from mux_cli.console import put, put_json, say
    from mux_cli.exits import ExitCode
    from mux_cli.progress import Silence, follow
    from mux_cli.projects import is_running
    from mux_cli.views import changes_text
    from runtime.project import project_for
    from runtime.supervisor.client import ControlClient

    project = project_for(name, path)
    if is_running(project):
        plans = Silence()
        follow(ControlClient(project).apply(request), plans)
        changes = [change for event in plans.events for change in event.changes]
    else:
        changes = _all_new(request)
    if as_json:
        put_json({"changes": changes})
    elif changes:
        put(changes_text(changes))
    else:
        say("Nothing would change.")
    if changes:
        raise typer.Exit(ExitCode.CHANGES_PENDING)


def _all_new(request: ApplyRequest) -> list[dict[str, str]]:
    from runtime.config.diff import diff
    from runtime.config.models import Config

    new = Config.model_validate(request.config)
    return [change.as_event() for change in diff(None, new, {}, request.digests)]


def _in_foreground(name: str, path: Path, request: ApplyRequest) -> None:
    from mux_cli.console import say
    from mux_cli.foreground import LogPrinter
    from mux_cli.progress import Lines
    from runtime.project import project_for
    from runtime.supervisor.foreground import run_foreground

    project = project_for(name, path)
    lines = Lines()

    def show(event: Event) -> None:
        if event.kind == "plan":  # the steps are in the logs, which are printed beside it
            lines.show(event)
        if event.kind == "done" and event.status is not None:
            say(f"'{name}' is ready at {event.status.url}. Ctrl-C or SIGTERM stops it.")

    with LogPrinter(project.logs):
        run_foreground(project, request, show)
    say(f"'{name}' is down.")
