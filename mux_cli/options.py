"""Options that several commands share, each spelled and explained once."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_cli.completions import deployments, projects

ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        metavar="NAME",
        envvar="MUX_PROJECT",
        autocompletion=projects,
        help="The project, or the path of its config. Default: the mux.yaml here or above, else the only one known.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DeploymentOption = Annotated[
    str,
    typer.Option(
        "--deployment",
        metavar="NAME",
        autocompletion=deployments,
        help="The deployment; may be left out if there is only one.",
    ),
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")]


def command(doc: str = "") -> typer.Typer:
    """Return the Typer that holds one command of ours; plain text help, no tracebacks of Typer's."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        help=doc or None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def examples(*lines: str) -> str:
    """Return the epilog of a command's help page."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
