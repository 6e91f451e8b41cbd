"""Request lines as bytes: a small struct for what differs, encoded constants for what does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import msgspec


@dataclass(frozen=True, slots=True)
class Identity:
    """Who writes. ``process``: ``router-0`` or ``Model#EjYmnQ``; ``replica``: ``EjYmnQ``."""

    process: str
    application: str = ""
    deployment: str = ""
    replica: str = ""


class Started(msgspec.Struct, gc=False):
    """A replica began a request."""

    ts: float
    request_id: str
    route: str
    model: str
    msg: str


class Finished(msgspec.Struct, gc=False, omit_defaults=True):
    """A replica ended a request. Times are milliseconds; ``cache``: hit, load, wait, or empty without a model."""

    ts: float
    level: str
    request_id: str
    route: str
    model: str
    msg: str
    status: int
    ms: float
    cache: str = ""
    load_ms: float = 0
    wait_ms: float = 0


class Access(msgspec.Struct, gc=False):
    """A router answered a request; ``app``, ``deployment`` and ``replica`` are those that served it."""

    ts: float
    level: str
    app: str
    deployment: str
    replica: str
    request_id: str
    route: str
    model: str
    msg: str
    method: str
    path: str
    status: int
    ms: float
    queue_ms: float
    cache: str
    client: str


class LineEncoder:
    """Makes lines. The constants of a line are encoded once per place in the code that logs it."""

    def __init__(self, who: Identity) -> None:
        self._constants: dict[str, object] = {
            "level": "INFO",
            "app": who.application,
            "deployment": who.deployment,
            "replica": who.replica,
            "process": who.process,
        }
        self._encode = msgspec.json.Encoder().encode
        self._tails: dict[tuple[int, int], tuple[bytes, CodeType]] = {}  # keeps the code object for its id's sake

    def line(self, head: Started | Finished | Access, caller: FrameType, event: str) -> bytes:
        """Return ``head`` and the constants as one line; ``caller`` gives its file and line number."""
        site = self._tails.get((id(caller.f_code), caller.f_lasti))
        tail = site[0] if site else self._tail(type(head), caller, event)
        try:
            return self._encode(head)[:-1] + tail
        except UnicodeEncodeError:  # a lone surrogate in what a client sent
            values = {key: getattr(head, key) for key in head.__struct_fields__}
            return self._encode({key: _without_surrogates(value) for key, value in values.items()})[:-1] + tail

    def _tail(self, head: type[msgspec.Struct], caller: FrameType, event: str) -> bytes:
        code = caller.f_code
        place = {"file": Path(code.co_filename).name, "line": caller.f_lineno, "event": event}
        constants = {**self._constants, **place}
        own = {key: value for key, value in constants.items() if key not in head.__struct_fields__}
        tail = b"," + self._encode(own)[1:] + b"\n"
        self._tails[id(code), caller.f_lasti] = (tail, code)
        return tail


def _without_surrogates(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
