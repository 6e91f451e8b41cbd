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
    msg: str = ""

    def tell(self) -> None:
        """Make the message: when the line is written, not while the request waits for it."""
        self.msg = f"Started executing request {self.request_id}"


class Finished(msgspec.Struct, gc=False, omit_defaults=True):
    """A replica ended a request. Times are milliseconds; ``cache``: hit, load, wait, or empty without a model."""

    ts: float
    level: str
    request_id: str
    route: str
    model: str
    msg: str  # what ran and how it ended; ``tell`` adds how long it took
    status: int
    ms: float
    cache: str = ""
    load_ms: float = 0
    wait_ms: float = 0

    def tell(self) -> None:
        self.msg = f"{self.msg} {self.ms:.1f}ms"


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
    method: str
    path: str
    status: int
    ms: float
    queue_ms: float
    cache: str
    client: str
    msg: str = ""

    def tell(self) -> None:
        self.replica = self.replica.rpartition("#")[2]
        self.msg = f"{self.method} {self.path} {self.status} {self.ms:.1f}ms"


Line = Started | Finished | Access


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

    def constants(self, head: type[Line], caller: FrameType, event: str) -> bytes:
        """Return the end of a line that ``caller`` logs: its file and line number, and who logs."""
        site = self._tails.get((id(caller.f_code), caller.f_lasti))
        return site[0] if site else self._tail(head, caller, event)

    def line(self, head: Line, constants: bytes) -> bytes:
        """Return the whole line. To be called once for each ``head``."""
        head.tell()
        try:
            return self._encode(head)[:-1] + constants
        except UnicodeEncodeError:  # a lone surrogate in what a client sent
            values = {key: getattr(head, key) for key in head.__struct_fields__}
            return self._encode({key: _without_surrogates(value) for key, value in values.items()})[:-1] + constants

    def _tail(self, head: type[Line], caller: FrameType, event: str) -> bytes:
        code = caller.f_code
        place = {"file": Path(code.co_filename).name, "line": caller.f_lineno, "event": event}
        constants = {**self._constants, **place}
        own = {key: value for key, value in constants.items() if key not in head.__struct_fields__}
        tail = b"," + self._encode(own)[1:] + b"\n"
        self._tails[id(code), caller.f_lasti] = (tail, code)
        return tail


def _without_surrogates(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
