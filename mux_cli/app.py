"""The entry point of ``mux``. It imports nothing at the top, so that even a Ctrl-C while Python imports is met."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with one of ``mux_cli.exits.ExitCode``."""
    import sys

    _open_standard_streams()
    try:
        from mux_cli.tree import command

        command().main(prog_name="mux")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(130)
    sys.exit(0)


def _open_standard_streams() -> None:
    """Open what was closed (``mux status >&-``), or the next file that is opened would take its descriptor."""
    import os
    import sys

    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free: most likely this one
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
