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
CLOSE: Final = (b"connection", b"close")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_MEMO_LIMIT: Final = 4096
_encode_json: Final = msgspec.json.Encoder().encode

_names: dict[bytes, bytes | None] = {}  # a header's name as sent → in lower case, None: never passed on
_passed: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}  # headers that were found to pass, as they go on
_PASSED_BYTES: Final = 64  # a longer value hardly comes again


class AnswerHead:
    """A head that may be sent. ``length``: the body's bytes, -1 if not known before its end.

    ``bodiless``: HTTP allows no body here (an answer to HEAD, 204, 304); what the application sends is dropped.
    """

    __slots__ = ("bodiless", "headers", "length", "status")

    def __init__(self, status: int, headers: Headers, length: int, bodiless: bool) -> None:
        self.status = status
        self.headers = headers
        self.length = length
        self.bodiless = bodiless


def safe_head(status: int, headers: Headers, method: str, whole_body: int = -1) -> AnswerHead:
    """Check and clean an application's head.

    Hop-by-hop headers, those that ``Connection`` names and the application's ``x-mux-*`` are dropped.
    ``whole_body``: the size of the body if all of it is at hand, else -1. Raises ``UserCodeError`` for a head
    that cannot be sent: an impossible status, a name or value with CR, LF or NUL, two lengths.
    """
    if not 200 <= status <= 599:
        raise UserCodeError(f"the application answered with status {status}, which is no final HTTP status")
    length, named = -1, b""
    kept: Headers = []
    for pair in headers:
        passed = _passed.get(pair)
        if passed is not None:
            kept.append(passed)
            continue
        raw, value = pair
        name = _names.get(raw, raw)
        if name is raw:
            name = _learn(raw)
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise UserCodeError(f"the application's header {raw[:60]!a} has a line break or NUL in its value")
        if name is None:
            named += value + b"," if raw.lower() == b"connection" else b""
            continue
        if name == b"content-length":
            length = _one_length(value, length)
            continue
        kept.append((name, value))
        if len(value) <= _PASSED_BYTES and len(_passed) < _MEMO_LIMIT:
            _passed[pair] = kept[-1]
    if named:
        dropped = {token.strip().lower() for token in named.split(b",")}
        kept = [pair for pair in kept if pair[0] not in dropped]
    return _framed(AnswerHead(status, kept, length, method == "HEAD" or status in (204, 304)), method, whole_body)


def error_head(error: MuxError, request_id: str, status: int = 0) -> tuple[AnswerHead, bytes]:
    """Return the JSON answer for an error: never a traceback."""
    body = _encode_json(error.to_payload(request_id))
    headers: Headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    return AnswerHead(status or error.status, headers, len(body), False), body


def relayed_error(code: str, message: str, retry_after_s: float | None = None) -> MuxError:
    """Return the error that another process named by its code; an unknown code is an internal error."""
    return by_code(code)(message, retry_after_s=retry_after_s)


def error_of(failure: Failure | FailureHead) -> MuxError:
    """Return the error that a failure on the wire or in the brain stands for."""
    missing = failure.code == ModelNotFound.code  # to ask again soon is no help: the source says that it is not there
    return relayed_error(failure.code, failure.message, None if missing else failure.retry_after_s)


def _framed(head: AnswerHead, method: str, whole_body: int) -> AnswerHead:
    if head.bodiless:
        length = head.length if head.length >= 0 else whole_body
        if method == "HEAD" and head.status not in (204, 304) and length > 0:
            head.headers.append((b"content-length", b"%d" % length))
        return head
    if head.length < 0 and whole_body >= 0:
        head.length = whole_body
    if head.length >= 0:
        head.headers.append((b"content-length", b"%d" % head.length))
    return head


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
