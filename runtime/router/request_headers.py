"""A request's headers in one pass: what the router needs of them, and which of them travel on."""

from __future__ import annotations

import itertools
from typing import Final

from runtime.errors import BadRequest
from runtime.link.frames import Headers

HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip

_MODEL, _REQUEST_ID, _TIMEOUT, _LENGTH, _HOST, _CONNECTION, _EXPECT, _CHUNKED, _HOP = range(9)
_KNOWN: Final = {
    **dict.fromkeys(HOP_BY_HOP, _HOP), b"x-request-id": _REQUEST_ID, b"x-request-timeout-seconds": _TIMEOUT,
    b"content-length": _LENGTH, b"host": _HOST, b"connection": _CONNECTION, b"expect": _EXPECT,
    b"transfer-encoding": _CHUNKED,
}  # fmt: skip
_MAX_SEPARATORS: Final = 8


def spellings(header: str) -> list[bytes]:
    """Return every lower-case form of a header's name with '-' and '_' in each other's place."""
    parts = header.lower().replace("_", "-").split("-")
    if len(parts) - 1 > _MAX_SEPARATORS:  # all of one kind only: the mixed forms would be thousands
        return ["-".join(parts).encode(), "_".join(parts).encode()]
    marks = itertools.product("-_", repeat=len(parts) - 1)
    return [(parts[0] + "".join(m + p for m, p in zip(mark, parts[1:], strict=True))).encode() for mark in marks]


class RequestHeaders:
    """What one pass found. ``model`` None: the header is absent or empty. ``content_length`` -1: not given."""

    __slots__ = (
        "all_travel", "chunked", "connection", "content_length", "expects_continue", "hosts", "model", "request_id",
        "timeout",
    )  # fmt: skip

    def __init__(self) -> None:
        self.model: bytes | None = None
        self.request_id: bytes | None = None
        self.timeout: bytes | None = None
        self.content_length = -1
        self.hosts = 0
        self.connection: bytes | None = None
        self.expects_continue = False
        self.chunked = False
        self.all_travel = True  # no header stays here

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0

    def forwarded(self, headers: Headers) -> Headers:
        """Return what travels on: all but hop-by-hop headers, those that ``Connection`` names, and ``Expect``."""
        dropped = HOP_BY_HOP
        if self.connection is not None:
            named = {token.strip().lower() for token in self.connection.split(b",")}
            dropped = dropped | (named - {b"host", b"content-length"})
        return [pair for pair in headers if pair[0] not in dropped and pair[0] != b"expect"]


class HeaderReader:
    """Reads headers with lower-case names; ``model_header`` is the configured one, '-' equal to '_'."""

    def __init__(self, model_header: str) -> None:
        self._known = {**_KNOWN, **dict.fromkeys(spellings(model_header), _MODEL)}

    def read(self, headers: Headers) -> RequestHeaders:
        """Return the findings. Of several model headers the last wins."""
        found = RequestHeaders()
        known = self._known.get
        for name, value in headers:
            what = known(name)
            if what is None:
                continue
            if what == _MODEL:
                found.model = value.strip(b" \t") or None  # the parser leaves what stands behind a value
            elif what == _HOST:
                found.hosts += 1
            elif what == _LENGTH:
                found.content_length = int(value) if value.isdigit() else -2
            else:
                self._rare(found, what, value)
        return found

    @staticmethod
    def _rare(found: RequestHeaders, what: int, value: bytes) -> None:
        if what == _REQUEST_ID:
            found.request_id = value
        elif what == _TIMEOUT:
            found.timeout = value
        elif what == _EXPECT:
            found.all_travel = False
            found.expects_continue = value.lower() == b"100-continue"
        else:
            found.all_travel = False
            if what == _CONNECTION:
                found.connection = value if found.connection is None else found.connection + b"," + value
            elif what == _CHUNKED:
                found.chunked = True


def timeout_of(value: bytes) -> float:
    """Return the seconds that ``x-request-timeout-seconds`` names. Raises ``BadRequest``."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise BadRequest("x-request-timeout-seconds is not a positive number of seconds")
    return seconds
