"""The logs of a project that runs in the foreground, printed while it runs."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mux_cli.console import wants_colour
from runtime.observe.filter import LogFilter
from runtime.observe.follow import follow_logs
from runtime.observe.text import render

LAST_LINES_S = 5.0  # how long the end may take: one more look at every stream


class LogPrinter:
    """Follows the logs in a thread and writes them to stdout; its end comes after the last line."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._ended = threading.Event()
        self._looked_again = False
        self._thread = threading.Thread(target=self._print, name="log-printer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(LAST_LINES_S)

    def _over(self) -> bool:
        """Return whether to stop; true only after one more look, for the lines written at the very end."""
        if self._looked_again:
            return True
        self._looked_again = self._ended.is_set()
        return False

    def _print(self) -> None:
        colour = wants_colour(sys.stdout)
        wanted = LogFilter(since=time.time())
        try:
            for record in follow_logs(self._logs, wanted, stop=self._over, sleep=self._pause):
                sys.stdout.write(f"{render(record, colour)}\n")
                sys.stdout.flush()
        except BrokenPipeError:  # whoever read them has gone; the project goes on
            return

    def _pause(self, seconds: float) -> None:
        self._ended.wait(seconds)
