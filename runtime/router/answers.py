"""What goes back to a client: an application's head made safe, and our own JSON errors."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from runtime.core.events import Failure
from runtime.errors import ModelNotFound, MuxError, UserCodeError, by_code
from runtime.link.frames import FailureHead, Headers
from runtime.router.request_headers import HOP_BY_HOP

JSON_TYPE: Final = (b"content-type", b"application/json")
CLOSE: Final = b"connection: close\r\n"
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_MEMO_LIMIT: Final = 1024
_MEMO_BYTES: Final = 1024  # larger headers hardly come again
_encode_json: Final = msgspec.json.Encoder().encode


class Passed:
    """An application's headers, checked and cleaned. ``lines``: as they are sent. ``length``: content-length or -1."""

    __slots__ = ("length", "lines", "pairs")

    def __init__(self, pairs: Headers, length: int = -1) -> None:
        self.pairs = pairs
        self.lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
        self.length = length


_JSON: Final = Passed([JSON_TYPE])
_names: dict[bytes, bytes | None] = {}  # a header's name as sent → in lower case, None: never passed on
_passed: dict[tuple[tuple[bytes, bytes], ...], Passed] = {}  # headers that came before: most answers are alike


class AnswerHead:
    """A head that may be sent. ``length``: the body's bytes, -1 if not known before its end.

    ``bodiless``: HTTP allows no body here (an answer to HEAD, 204, 304); what the application sends is dropped.
    ``passed`` may be that of many answers; ``own``: the lines that the router adds.
    """

    __slots__ = ("bodiless", "length", "own", "passed", "status")

    def __init__(self, status: int, passed: Passed, length: int, bodiless: bool, own: bytes = b"") -> None:
        self.status = status
        self.passed = passed
        self.length = length
        self.bodiless = bodiless
        self.own = own

    @property
    def headers(self) -> Headers:
        """All headers, as ASGI has them."""
        own = [line.partition(b": ") for line in self.own.splitlines()]
        return [*self.passed.pairs, *((name, value) for name, _, value in own)]


def safe_head(status: int, headers: Headers, method: str, whole_body: int = -1) -> AnswerHead:
    """Check and clean an application's head.

    Hop-by-hop headers, those that ``Connection`` names and the application's ``x-mux-*`` are dropped.
    ``whole_body``: the size of the body if all of it is at hand, else -1. Raises ``UserCodeError`` for a head
    that cannot be sent: an impossible status, a name or value with CR, LF or NUL, two lengths.
    """
    if not 200 <= status <= 599:
        raise UserCodeError(f"the application answered with status {status}, which is no final HTTP status")
    key = tuple(headers)
    passed = _passed.get(key)
    if passed is None:
        passed = _clean(headers)
        if sum(len(name) + len(value) for name, value in headers) <= _MEMO_BYTES:
            if len(_passed) >= _MEMO_LIMIT:
                _passed.clear()
            _passed[key] = passed
    length = passed.length
    if method == "HEAD" or status in (204, 304):
        sent = length if length >= 0 else whole_body
        told = method == "HEAD" and status not in (204, 304) and sent > 0
        return AnswerHead(status, passed, length, True, b"content-length: %d\r\n" % sent if told else b"")
    if length < 0:
        length = whole_body
    return AnswerHead(status, passed, length, False, b"content-length: %d\r\n" % length if length >= 0 else b"")


def error_head(error: MuxError, request_id: str, status: int = 0) -> tuple[AnswerHead, bytes]:
    """Return the JSON answer for an error: never a traceback."""
    body = _encode_json(error.to_payload(request_id))
    own = b"content-length: %d\r\n" % len(body)
    if error.retry_after_s is not None:
        own += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_s))
    return AnswerHead(status or error.status, _JSON, len(body), False, own), body


def relayed_error(code: str, message: str, retry_after_s: float | None = None) -> MuxError:
    """Return the error that another process named by its code; an unknown code is an internal error."""
    return by_code(code)(message, retry_after_s=retry_after_s)


def error_of(failure: Failure | FailureHead) -> MuxError:
    """Return the error that a failure on the wire or in the brain stands for."""
    missing = failure.code == ModelNotFound.code  # to ask again soon is no help: the source says that it is not there
    return relayed_error(failure.code, failure.message, None if missing else failure.retry_after_s)


def _clean(headers: Headers) -> Passed:
    length, named = -1, b""
    kept: Headers = []
    for raw, value in headers:
        name = _names.get(raw, raw)
        if name is raw:
            name = _learn(raw)
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise UserCodeError(f"the application's header {raw[:60]!a} has a line break or NUL in its value")
        if name is None:
            named += value + b"," if raw.lower() == b"connection" else b""
        elif name == b"content-length":
            length = _one_length(value, length)
        else:
            kept.append((name, value))
    if named:
        dropped = {token.strip().lower() for token in named.split(b",")}
        kept = [pair for pair in kept if pair[0] not in dropped]
    return Passed(kept, length)


def _one_length(value: bytes, before: int) -> int:
    if not value.isdigit() or (before >= 0 and before != int(value)):
        raise UserCodeError("the application's content-length is not one number")
    return int(value)


def _learn(raw: bytes) -> bytes | None:
    """Check a header's name once. Raises ``UserCodeError`` if it is not a token."""
    if _NAME(raw) is None:
        raise UserCodeError(f"the application's header name {raw[:60]!a} is not a token")
    name = raw.lower()
    ours = name == b"x-request-id" or name.startswith(b"x-mux-")
    learned = None if ours or name in HOP_BY_HOP else name
    if len(_names) < _MEMO_LIMIT:
        _names[raw] = learned
    return learned
