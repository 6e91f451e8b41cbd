"""Ctrl-C while a command waits: it stops the waiting, not what was asked for, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mux_cli.console import say
from mux_cli.exits import ExitCode


@contextmanager
def stop_waiting(what: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence and exit code 130. ``what`` goes on: "the deployment", "scaling"."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nStopped waiting; {what} goes on. See 'mux status'.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def say_done(project: str, no_wait: bool) -> None:
    """Say how a change of a running project ended."""
    say(f"'{project}': it goes on in the background, see 'mux status'." if no_wait else f"'{project}': done.")
