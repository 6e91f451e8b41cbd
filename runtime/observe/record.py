"""One log record, and its form on disk: one flat JSON object a line."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
MESSAGE_LIMIT: Final = 64 * 1024
"""Characters of a message that are kept; a printed tensor must not fill the disk."""


class LogRecord(msgspec.Struct, kw_only=True):
    """What one process said at one moment.

    ``ts`` is in seconds since the epoch. ``process`` wrote the record; ``app``, ``deployment`` and ``replica`` say
    what it is about. ``fields`` holds what only some events carry (``ms``, ``load_s``, ...); on disk its keys
    stand beside the others.
    """

    ts: float
    level: str = "INFO"
    app: str = ""
    deployment: str = ""
    replica: str = ""
    process: str = ""
    request_id: str = ""
    route: str = ""
    model: str = ""
    file: str = ""
    line: int = 0
    event: str = ""
    msg: str = ""
    fields: dict[str, Any] = {}


KEYS: Final = tuple(name for name in LogRecord.__struct_fields__ if name != "fields")
_KEYS: Final = frozenset(KEYS)
_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder()


def level_rank(level: str) -> int:
    """Return how severe ``level`` is; an unknown name counts as INFO."""
    return LEVELS.get(level.upper(), LEVELS["INFO"])


def encode(record: LogRecord) -> bytes:
    """Return the record as a line, newline included. Never raises: what JSON cannot hold is written as text."""
    flat = {key: getattr(record, key) for key in KEYS}
    flat["msg"] = clip(record.msg)
    for key, value in record.fields.items():
        flat[f"{key}_" if key in _KEYS else key] = value
    try:
        return _encoder.encode(flat) + b"\n"
    except (UnicodeEncodeError, msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError):
        return _encoder.encode({key: _plain(value) for key, value in flat.items()}) + b"\n"


def decode(line: bytes) -> LogRecord | None:
    """Return the record of a line, or None if the line is torn, or no record."""
    try:
        raw = _decoder.decode(line)
        if not isinstance(raw, dict):
            return None
        known = {key: raw.pop(key) for key in KEYS if key in raw}
        return msgspec.convert({**known, "fields": raw}, LogRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def clip(message: str) -> str:
    """Return the message, cut at ``MESSAGE_LIMIT`` characters with a note of how many are missing."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    return f"{message[:MESSAGE_LIMIT]}… ({len(message) - MESSAGE_LIMIT} more characters)"


def _plain(value: object) -> str | int | float:
    """Return a value that surely encodes: a number, or text without lone surrogates."""
    if isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as exc:  # a user's __repr__ may raise anything; the record still says which object it was
        text = f"<{type(value).__name__}: its repr raised {type(exc).__name__}>"
    return clip(text).encode("utf-8", "backslashreplace").decode()
