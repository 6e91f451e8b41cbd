"""A log record as a person reads it, one line each, in the form of Ray Serve's replica logs."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Final

from runtime.observe.record import LogRecord

_INDENT: Final = "    "
_RESET: Final = "\x1b[0m"
_LEVEL_COLOURS: Final = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_PALETTE: Final = (36, 32, 35, 34, 33, 96, 92, 95, 94, 93)
_DIM: Final = "2"

# Bidirectional overrides, line separators and byte order marks can make a line look like another one.
_UNSAFE: Final = {*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x2028, 0x202F)} | {
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xD800, 0xE000),
}
_WORD_TABLE: Final = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _UNSAFE | {0x20}}
_TEXT_TABLE: Final = {code: shown for code, shown in _WORD_TABLE.items() if code not in (0x20, 0x09, 0x0A)}

Localtime = Callable[[float], time.struct_time]


def escape(text: str) -> str:
    """Return ``text`` with every control character made visible, but for newlines and tabs."""
    return text.translate(_TEXT_TABLE)


def render(record: LogRecord, colour: bool = False, *, localtime: Localtime = time.localtime) -> str:
    """Return the line of a record, without a newline at its end.

    ``INFO 2023-05-24 01:19:03,854 default_Model default_Model#EjYmnQ CUpzhwUUNw / default multiplex.py:131 - Loading
    model '1'.`` The columns are: level, local time, deployment, who wrote it (a replica, else the process),
    request id, route, application, file:line; ``-`` where there is none. Further lines of the message are indented,
    and control characters are escaped, so that no message can pass for a line of its own.
    """
    level = _word(record.level)
    deployment = _deployment(record)
    writer = _writer(record, deployment)
    context = f"{_word(record.request_id)} {_word(record.route)} {_word(record.app)}"
    place = f"{_word(record.file)}:{record.line}" if record.file else "-"
    message = escape(record.msg).rstrip("\n").replace("\n", "\n" + _INDENT)
    stamp = timestamp(record.ts, localtime)
    if not colour:
        return f"{level} {stamp} {deployment} {writer} {context} {place} - {message}"
    tint = str(replica_colour(writer))
    level = _paint(level, _LEVEL_COLOURS.get(record.level, "0"))
    rest = _paint(f"{context} {place}", _DIM)
    return f"{level} {stamp} {_paint(deployment, tint)} {_paint(writer, tint)} {rest} - {message}"


def timestamp(ts: float, localtime: Localtime = time.localtime) -> str:
    """Return ``2023-05-24 01:19:03,854`` in local time; seconds since the epoch where no calendar holds them."""
    milliseconds = int(ts * 1000)
    try:
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', localtime(milliseconds // 1000))},{milliseconds % 1000:03d}"
    except (OverflowError, ValueError, OSError):
        return f"@{ts:.3f}"


def replica_colour(name: str) -> int:
    """Return the ANSI colour of a process: the same in every run, on every machine."""
    return _PALETTE[zlib.crc32(name.encode("utf-8", "backslashreplace")) % len(_PALETTE)]


def _deployment(record: LogRecord) -> str:
    if record.app and record.deployment:
        return f"{_word(record.app)}_{_word(record.deployment)}"
    return _word(record.deployment)


def _writer(record: LogRecord, deployment: str) -> str:
    if record.replica and record.process.endswith(f"#{record.replica}"):
        return f"{deployment}#{_word(record.replica)}"
    return _word(record.process)


def _word(text: str) -> str:
    """Return ``text`` as one column: no spaces, no control characters, never empty."""
    return text.translate(_WORD_TABLE) or "-"


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}{_RESET}"
