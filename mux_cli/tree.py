"""The tree of commands. A command's module is imported when that command runs, not before."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from mux_cli.exits import ExitCode
from runtime.errors import MuxError

# name → (section of the help page, what it does). The module is ``mux_cli.commands.<name>`` and holds ``app``.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("Begin", "Write a mux.yaml and an app.py that work."),
    "validate": ("Begin", "Check a configuration and list every problem in it."),
    "schema": ("Begin", "Print the JSON Schema of the configuration, for editors."),
    "doctor": ("Begin", "Check this machine for what mux needs."),
    "deploy": ("Run", "Start a project, or bring a running one to its configuration."),
    "wait": ("Run", "Wait until everything is ready."),
    "scale": ("Run", "Set how many replicas a deployment has."),
    "restart": ("Run", "Restart replicas one after the other."),
    "down": ("Run", "Stop a project and leave nothing running."),
    "request": ("Use", "Send a request and see who served it, and how."),
    "models": ("Use", "List the models in memory; load, unload, pin and unpin them."),
    "status": ("Look", "Show deployments, replicas and routers."),
    "logs": ("Look", "Show and follow the logs, also of a project that is down."),
    "top": ("Look", "Watch replicas and models live."),
    "explain": ("Look", "Tell why a request or a model went where it went."),
    "simulate": ("Plan", "Run traffic through a simulated pool, per eviction policy."),
    "plan": ("Plan", "Tell how many replicas and slots a trace needs."),
}

_EPILOG = """\b
Examples:
  mux init shop && cd shop
  mux deploy
  mux request --model-id 3 -d '{"inputs": [[1, 2, 3]]}'
  mux logs -f

'mux COMMAND --help' shows the options of a command and examples.
"""


class LazyGroup(TyperGroup):
    """The root: stand-ins with a one-line help until ``resolve_command`` asks for a real command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, summary) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the real command in the place of its stand-in, then resolve as ever."""
        if args and args[0] in COMMANDS:
            module = import_module(f"mux_cli.commands.{args[0]}")
            self.commands[args[0]] = typer.main.get_command(module.app)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by what one wants to do, instead of in one long column."""
        sections = dict.fromkeys(section for section, _ in COMMANDS.values())
        width = max(len(name) for name in COMMANDS)
        for section in sections:
            with formatter.section(section):
                rows = [(n.ljust(width), text) for n, (s, text) in COMMANDS.items() if s == section]
                formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run to the end of the process; every failure becomes a message and an exit code."""
        args = sys.argv[1:] if args is None else list(args)
        sys.exit(int(self._run(args, prog_name or "mux", complete_var)))

    def _run(self, args: list[str], prog_name: str, complete_var: str | None) -> int:
        try:
            self._main_shell_completion({}, prog_name, complete_var)
            with self.make_context(prog_name, args) as ctx:
                self.invoke(ctx)
            sys.stdout.flush()
        except typer.Exit as stop:
            return stop.exit_code
        except typer.TyperException as problem:
            return _tell_usage(problem)
        except (KeyboardInterrupt, typer.Abort):
            sys.stderr.write("\nInterrupted.\n")
            return ExitCode.INTERRUPTED
        except BrokenPipeError:
            return _reader_left()
        except MuxError as error:
            from mux_cli.failures import tell

            return tell(error)
        except Exception as bug:
            if isinstance(bug, OSError) and bug.errno == errno.ENOSPC and bug.filename is None:
                return _output_full(bug)
            from mux_cli.failures import tell_bug

            return tell_bug(bug)
        return ExitCode.OK


def _tell_usage(problem: typer.TyperException) -> int:
    problem.message = problem.message.replace("Value error, ", "")  # pydantic's words, of a choice
    show = getattr(problem, "show", None)
    if callable(show):
        show()
    else:
        sys.stderr.write(f"error: {problem.format_message()}\n")
    return problem.exit_code


def _output_full(problem: OSError) -> int:
    """The disk that the output goes to is full (``mux logs > file``)."""
    sys.stderr.write(f"error: The output cannot be written: {problem.strerror}.\n")
    _reader_left()
    return ExitCode.BUG


def _reader_left() -> int:
    """Whoever read our output has gone (``mux logs | head``): they got what they wanted, so this is no failure."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return ExitCode.OK


root = typer.Typer(
    cls=LazyGroup,
    name="mux",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from mux_cli.version import version

        typer.echo(f"mux {version()}")
        raise typer.Exit


@root.callback(epilog=_EPILOG)
def mux(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Serve many models of one shape from a handful of processes.

    One YAML file says what to serve; every request names its model; mux keeps the models that are in
    use in memory and loads and evicts the others as needed.
    """


def command() -> LazyGroup:
    """Return the root as something to call ``main`` on."""
    built = typer.main.get_command(root)
    assert isinstance(built, LazyGroup)
    return built
