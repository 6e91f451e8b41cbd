"""The entry point of ``mux``. It imports nothing at the top, so that even a Ctrl-C while Python imports is met."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with one of ``mux_cli.exits.ExitCode``."""
    import sys

    try:
        from mux_cli.tree import command

        command().main(prog_name="mux")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(130)
    sys.exit(0)
