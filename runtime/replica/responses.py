"""Return values of user code as HTTP answers, as Ray Serve has them.

| value | answer |
|---|---|
| a starlette ``Response`` | as it is |
| ``str`` | text/plain |
| ``bytes`` | application/octet-stream |
| ``None``, dict, list, numbers, dataclass, pydantic model, tensor, array | JSON (tensors and arrays as lists) |
| a generator, sync or async | streaming text/plain |
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from runtime.errors import MuxError, UserCodeError
from runtime.link.frames import Headers
from runtime.replica.importer import describe

JSON: Final = (b"content-type", b"application/json")
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
BINARY: Final = (b"content-type", b"application/octet-stream")
_CONTAINERS: Final = (dict, list)  # tuples: a union would be made anew at every check
_BYTES: Final = (bytes, bytearray, memoryview)
_WITH_BODY: Final = frozenset({Response, JSONResponse, PlainTextResponse, HTMLResponse, RedirectResponse})


@dataclass(slots=True)
class Plain:
    """An answer whose whole body is at hand. ``headers``: in one frame, the router adds the body's length."""

    status: int
    headers: Headers
    body: bytes


Answer = Plain | Response | AsyncIterator[Any] | Iterator[Any]


def _jsonable(value: Any) -> Any:
    """Turn what msgspec does not know into what it does: tensors, arrays and numpy scalars, pydantic models."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    if value is None or isinstance(value, bool | tuple | frozenset):  # JSON has these, but not as keys
        raise TypeError(f"a dict with the key {value!r:.60} cannot become a response: JSON's keys are strings")
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot become a response: return a str, bytes, "
        "something JSON can hold, a tensor, a generator or a starlette Response"
    )


to_json = msgspec.json.Encoder(enc_hook=_jsonable).encode


def plain(content_type: tuple[bytes, bytes], body: bytes, status: int = 200) -> Plain:
    return Plain(status, [content_type], body)


def answer_of(value: Any) -> Answer:
    """Return the answer that a return value stands for. Raises ``TypeError`` for one that stands for none."""
    if isinstance(value, _CONTAINERS):
        return plain(JSON, to_json(value))
    if isinstance(value, str):
        return plain(TEXT, value.encode())
    if isinstance(value, _BYTES):
        return plain(BINARY, bytes(value))
    if isinstance(value, Response):
        if type(value) in _WITH_BODY and value.background is None:
            return Plain(value.status_code, value.raw_headers, bytes(value.body))
        return value
    if inspect.isasyncgen(value) or inspect.isgenerator(value):
        return value
    return plain(JSON, to_json(value))


def chunk_of(item: Any) -> bytes:
    """Return the bytes of one item of a generator: str and bytes as they are, anything else as a line of JSON."""
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, _BYTES):
        return bytes(item)
    return to_json(item) + b"\n"


def error_answer(error: MuxError, request_id: str) -> Plain:
    """Return the JSON answer of an error; ``retry-after`` where it is known."""
    answer = plain(JSON, to_json(error.to_payload(request_id)), error.status)
    if error.retry_after_s is not None:
        answer.headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    return answer


def exception_answer(exc: BaseException, request_id: str) -> Plain:
    """Return the answer of an exception that user code let out: never a traceback, which is in the logs."""
    if isinstance(exc, MuxError):
        return error_answer(exc, request_id)
    if isinstance(exc, HTTPException):
        return _http_exception(exc, request_id)
    message = describe(exc, 500)
    return error_answer(UserCodeError(message, hint="the traceback is in the logs: mux logs"), request_id)


def _http_exception(exc: HTTPException, request_id: str) -> Plain:
    payload = {"error": "http_error", "message": exc.detail, "request_id": request_id}
    answer = plain(JSON, to_json(payload), exc.status_code)
    for name, value in (exc.headers or {}).items():
        answer.headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    return answer
