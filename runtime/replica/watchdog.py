"""Tells when user code blocks the event loop, and where it stands meanwhile: a thread with its own clock."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from runtime.observe import events
from runtime.observe.logs import LogWriter
from runtime.replica.importer import is_library, is_machinery

BEAT_S: Final = 0.25
BLOCKED_AFTER_S: Final = 1.0
QUIET_S: Final = 10.0  # between two warnings


class Watchdog:
    """Warns, with the stack, when the loop has not turned for ``blocked_after_s``; once per block, rate limited."""

    def __init__(
        self,
        writer: LogWriter,
        *,
        clock: Callable[[], float] = time.monotonic,
        blocked_after_s: float = BLOCKED_AFTER_S,
        beat_s: float = BEAT_S,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._blocked_after_s = blocked_after_s
        self._beat_s = beat_s
        self._quiet_s = quiet_s
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat_at = clock()
        self._warned_of = 0.0  # the beat after which the loop was last seen blocked
        self._warned_at = float("-inf")
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread.ident is not None:
            self._thread.join()

    def _beat(self) -> None:
        self._beat_at = self._clock()
        self._timer = self._loop.call_later(self._beat_s, self._beat)

    def _watch(self) -> None:
        while not self._stopped.wait(self._beat_s):
            self.look()

    def look(self) -> bool:
        """Warn if the loop is blocked now and that is news; return whether it warned."""
        now = self._clock()
        beat = self._beat_at
        blocked_s = now - beat
        if blocked_s < self._blocked_after_s or beat == self._warned_of or now - self._warned_at < self._quiet_s:
            return False
        frame = sys._current_frames().get(self._loop_thread)
        if not is_busy(frame):
            return False
        self._warned_of, self._warned_at = beat, now
        file, line = _user_place(frame)
        self._writer.event(
            f"User code has blocked the event loop for {blocked_s:.1f} s: nothing else runs in this replica "
            f"meanwhile. Make it a plain def, or await what it waits for.\n{_stack(frame)}",
            level="WARNING",
            event=events.LOOP_BLOCKED,
            file=file,
            line=line,
            blocked_s=round(blocked_s, 3),
        )
        return True


def is_busy(frame: FrameType | None) -> bool:
    """Return whether anything but the loop itself is on a stack: else the whole process was held up, by whomever."""
    while frame is not None:
        if not _is_shell(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def _stack(frame: FrameType | None) -> str:
    """Return the stack from the first frame of user code on."""
    frames = traceback.extract_stack(frame)
    outside = [i for i, one in enumerate(frames) if not _is_shell(one.filename)]
    first = next((i for i in outside if not is_library(frames[i].filename)), outside[0] if outside else 0)
    return "".join(traceback.format_list(frames[first:])).rstrip()


def _user_place(frame: FrameType | None) -> tuple[str, int]:
    """Return the file's name and line where the innermost frame stands that is neither ours nor a library's."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if not _is_shell(filename) and not is_library(filename):
            return filename.rpartition("/")[2], frame.f_lineno
        frame = frame.f_back
    return "watchdog.py", 0


def _is_shell(filename: str) -> bool:
    return is_machinery(filename) or "/asyncio/" in filename or "/uvloop/" in filename or "<frozen runpy>" in filename
