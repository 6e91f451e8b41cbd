"""User code's ``print`` and ``logging`` as records, with the request and the model they belong to."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

from runtime.observe import events
from runtime.observe.logs import LogWriter

Where = Callable[[], tuple[str, str, str]]
"""Returns (request id, route, model) of the code that calls it; empty strings outside a request."""

_PARTIAL_LIMIT: Final = 64 * 1024
_PARTIALS_LIMIT: Final = 256
_formatter: Final = logging.Formatter()


class CapturedStream(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``: each whole line becomes a record.

    Pieces of a line are kept per thread and request until its newline comes, so that two requests that print at
    once do not mix. Of a line that was rewritten with carriage returns (a progress bar) the last text counts.
    What asks for the file descriptor, such as a subprocess, gets the original's.
    """

    def __init__(self, writer: LogWriter, where: Where, original: TextIO, name: str, mute: threading.local) -> None:
        self._writer = writer
        self._where = where
        self._original = original
        self._name = name
        self._level = "INFO" if name == "stdout" else "WARNING"
        self._mute = mute  # .on is set while this thread is inside a logging handler: the record is logged already
        self._pid = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a finalizer may print at any allocation
        self._partials: OrderedDict[tuple[int, str], tuple[str, str, str]] = OrderedDict()  # text, route, model

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if getattr(self._mute, "on", False):
            return len(text)
        if os.getpid() != self._pid:  # after a fork in user code another thread may have held the lock
            self._pid, self._lock = os.getpid(), threading.RLock()
        request_id, route, model = self._where()
        key = (threading.get_ident(), request_id)
        dropped: list[tuple[tuple[int, str], tuple[str, str, str]]] = []
        with self._lock:
            whole, newline, rest = (self._partials.pop(key, ("", "", ""))[0] + text).rpartition("\n")
            if len(rest) > _PARTIAL_LIMIT:
                whole, newline, rest = whole + newline + rest, "\n", ""
            if rest:
                self._partials[key] = (rest, route, model)
            if len(self._partials) > _PARTIALS_LIMIT:
                dropped.append(self._partials.popitem(last=False))
        caller = sys._getframe(1)
        file, line = Path(caller.f_code.co_filename).name, caller.f_lineno
        for entry in dropped:
            self._emit_partial(*entry)
        if newline:
            for one in whole.split("\n"):
                self._emit(one, request_id, route, model, file, line)
        return len(text)

    def finish(self) -> None:
        """Log what stands without a newline."""
        with self._lock:
            partials, self._partials = self._partials, OrderedDict()
        for key, partial in partials.items():
            self._emit_partial(key, partial)

    def _emit_partial(self, key: tuple[int, str], partial: tuple[str, str, str]) -> None:
        text, route, model = partial
        self._emit(text, key[1], route, model, f"<{self._name}>", 0)

    def _emit(self, text: str, request_id: str, route: str, model: str, file: str, line: int) -> None:
        self._writer.event(
            text.rstrip("\r").rpartition("\r")[2],
            level=self._level,
            event=events.OUTPUT_PRINT,
            model=model,
            request_id=request_id,
            route=route,
            file=file,
            line=line,
            stream=self._name,
        )

    def flush(self) -> None:
        """Do nothing: whole lines are written at once, and a piece of a line waits for its end."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._original.fileno()

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed declares an attribute
        return self._original.encoding

    @property
    def buffer(self) -> Any:
        """The original's: bytes written there go to ``output.log``."""
        return self._original.buffer

    def reconfigure(self, **options: object) -> None:
        """Accept what ``TextIOWrapper.reconfigure`` does; records are UTF-8 whatever is asked for."""


class LoggingCapture:
    """Turns every record that a logger lets through into a log record of ours.

    It hooks ``Logger.callHandlers`` and adds no handler to the root: with one there, ``logging.basicConfig`` in
    user code would do nothing, and ``dictConfig`` would remove it. User code's own handlers run as ever; only
    what they write to stdout or stderr is not logged a second time.
    """

    def __init__(self, writer: LogWriter, where: Where, mute: threading.local) -> None:
        self._writer = writer
        self._where = where
        self._mute = mute

    def install(self) -> Callable[[], None]:
        """Begin; return the function that undoes it, unless user code has hooked in above."""
        log, mute, original = self.log, self._mute, logging.Logger.callHandlers
        level = logging.root.level

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            log(record)
            outer = getattr(mute, "on", False)
            mute.on = True
            try:
                original(logger, record)
            finally:
                mute.on = outer

        def remove() -> None:
            if logging.Logger.callHandlers is call_handlers:
                logging.Logger.callHandlers = original  # type: ignore[method-assign]
            if level == logging.WARNING and logging.root.level == logging.INFO:
                logging.root.setLevel(level)

        logging.Logger.callHandlers = call_handlers  # type: ignore[assignment, method-assign]
        if level == logging.WARNING:  # the default; basicConfig(level=...) in user code still wins
            logging.root.setLevel(logging.INFO)
        return remove

    def log(self, record: logging.LogRecord) -> None:
        request_id, route, model = self._where()
        self._writer.event(
            _message(record),
            level=_level(record.levelno),
            event=events.OUTPUT_LOG,
            model=model,
            request_id=request_id,
            route=route,
            file=record.filename,
            line=record.lineno,
            logger=record.name,
        )


def capture_user_output(writer: LogWriter, where: Where) -> Callable[[], None]:
    """Log what this process prints or logs from now on; return the function that undoes it."""
    mute = threading.local()
    stdout, stderr = sys.stdout, sys.stderr
    streams = (
        CapturedStream(writer, where, stdout, "stdout", mute),
        CapturedStream(writer, where, stderr, "stderr", mute),
    )
    sys.stdout, sys.stderr = streams
    undo_logging = LoggingCapture(writer, where, mute).install()

    def undo() -> None:
        undo_logging()
        for stream in streams:
            stream.finish()
        if sys.stdout is streams[0]:
            sys.stdout = stdout
        if sys.stderr is streams[1]:
            sys.stderr = stderr

    return undo


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as exc:  # user code's arguments may not fit its format, or their __str__ may raise anything
        text = f"{record.msg!r} (its arguments could not be formatted: {type(exc).__name__}: {exc})"
    if record.exc_info:
        text += "\n" + _formatter.formatException(record.exc_info)
    elif record.exc_text:
        text += "\n" + record.exc_text
    if record.stack_info:
        text += "\n" + record.stack_info
    return text


def _level(number: int) -> str:
    if number >= logging.CRITICAL:
        return "CRITICAL"
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARNING"
    return "INFO" if number >= logging.INFO else "DEBUG"
