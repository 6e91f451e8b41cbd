"""One HTTP request over a link, as the router makes it: the test client's side of a REQUEST stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import MuxError, ProtocolError, ReplicaDied, UserCodeError
from runtime.link.connection import Link
from runtime.link.frames import (
    ABORT,
    BODY_CHUNK,
    END,
    REFUSED,
    REQUEST,
    RESPONSE,
    Abort,
    Headers,
    Refused,
    RequestHead,
    ResponseHead,
    decode_head,
    encode_head,
)  # fmt: skip
from runtime.link.stream import Stream
from runtime.serve.failures import failure_error, refusal_error


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer. ``cache``: hit or load where the request's model was asked for, else "" ."""

    status: int
    headers: Mapping[str, str]  # by lower-case name; of a repeated one the last
    chunks: tuple[bytes, ...] = field(repr=False)  # the body as it was sent
    cache: str = ""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def ok(self) -> bool:
        return self.status < 400

    def json(self) -> Any:
        return json.loads(self.body)

    def raise_for_status(self) -> HttpAnswer:
        """Return the answer itself. Raises ``UserCodeError`` for a status of 400 and more, with the body's start."""
        if not self.ok:
            raise UserCodeError(f"the answer has status {self.status}: {self.text[:500]}")
        return self


async def request(link: Link, head: RequestHead, body: bytes) -> HttpAnswer:
    """Send one request over ``link`` and return its whole answer. Raises the error of a refusal or abort."""
    exchange = _Exchange()
    whole = len(body) <= BODY_CHUNK
    head.body = body if whole else b""
    stream = link.open(REQUEST, encode_head(head), exchange, END if whole else 0)
    sending = None if whole else asyncio.ensure_future(stream.send_body(body, end=True))
    try:
        return await exchange.answer
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()  # a handler may answer without having read the whole body
        if not stream.closed:
            stream.cancel()


class _Exchange:
    """The stream's handler: gathers the answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        self._head: ResponseHead | None = None
        self._chunks: list[bytes] = []

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == RESPONSE:
            self._head = decode_head(ResponseHead, payload)
            if self._head.body:
                self._chunks.append(self._head.body)
        elif kind == REFUSED:
            self._fail(refusal_error(decode_head(Refused, payload)))
        elif kind == ABORT:
            self._fail(failure_error(decode_head(Abort, payload), "aborted"))
        if flags & END:
            self._finish()

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        if data:
            self._chunks.append(data)
            stream.consumed(len(data))
        if end:
            self._finish()

    def stopped(self, stream: Stream) -> None:
        """The sender of the body learns it itself."""

    def cancelled(self, stream: Stream) -> None:
        """Only openers cancel, and this is the opener."""

    def lost(self, stream: Stream) -> None:
        self._fail(ReplicaDied("the replica went in the middle of the request"))

    def _finish(self) -> None:
        if self._head is None:
            self._fail(ProtocolError("an answer without a head"))
        elif not self.answer.done():
            names = _by_name(self._head.headers)
            self.answer.set_result(HttpAnswer(self._head.status, names, tuple(self._chunks), self._head.cache))

    def _fail(self, error: MuxError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _by_name(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
