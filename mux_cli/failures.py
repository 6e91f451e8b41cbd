"""How a failure is told: one clear message, the user's own traceback whole, never one of ours."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from mux_cli.console import say
from mux_cli.exits import ExitCode, exit_code
from runtime.errors import ConfigError, MuxError, StartError
from runtime.project import home


def tell(error: MuxError) -> ExitCode:
    """Say what ``error`` is and what to do, on stderr, and return its exit code."""
    code = exit_code(error)
    if code is ExitCode.BUG:
        return tell_bug(error)
    if isinstance(error, StartError) and error.traceback:
        say(error.traceback.rstrip())
        say()
    # a listing of problems stays as it is, so that editors find file:line:col at the beginning of each line
    say(error.message if isinstance(error, ConfigError) and "\n" in error.message else f"error: {_words(error)}")
    if error.hint:
        say(f"hint: {error.hint}")
    if os.environ.get("MUX_DEBUG"):
        say("".join(traceback.format_exception(error)).rstrip())
    return code


def _words(error: MuxError) -> str:
    return error.message or error.code.replace("_", " ")


def tell_bug(error: BaseException, folders: Sequence[Path] | None = None) -> ExitCode:
    """Say that mux itself failed and where the full traceback lies; MUX_DEBUG=1 shows it at once.

    ``folders``: where it may be written, the best first; default: mux's own, else the one for temporary files.
    """
    trace = "".join(traceback.format_exception(error))
    if os.environ.get("MUX_DEBUG"):
        say(trace.rstrip())
    say(f"error: mux failed: {type(error).__name__}: {error}")
    where = _write_report(trace, folders or (home() / "bugs", Path(tempfile.gettempdir())))
    if where is not None:
        say(f"The full traceback is in {where}. This is a bug of mux, please report it with that file.")
    else:
        say("This is a bug of mux. Run the command again with MUX_DEBUG=1 to see the full traceback.")
    return ExitCode.BUG


def _write_report(trace: str, folders: Sequence[Path]) -> Path | None:
    """Return where the report was written: the first of ``folders`` that can be."""
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = f"command: {' '.join(sys.argv)}\npython: {sys.version}\n\n{trace}"
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        except OSError:
            continue
        return path
    return None
