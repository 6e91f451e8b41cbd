"""An ASGI host over a stream: scope, ``receive`` and ``send`` for HTTP, with credit as backpressure.

An application sees an ordinary ASGI server (spec 2.4: ``send`` raises ``OSError`` once the client has gone). What
it sends becomes a RESPONSE frame and BODY frames; an answer that is complete with its first part is one frame.
Websockets are in ``asgi_websocket.py``, the lifespan of an application in ``asgi_lifespan.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from runtime.errors import LinkLost
from runtime.link.frames import BODY_CHUNK, END, RESPONSE, Headers, RequestHead, ResponseHead, encode_head
from runtime.link.stream import Stream, StreamEnded, StreamStopped

Message = MutableMapping[str, Any]
MakeHead = Callable[[int, Headers, bytes], ResponseHead]  # (status, headers, first body part)
ASGI_VERSION: Final = {"version": "3.0", "spec_version": "2.4"}


class ClientDisconnected(OSError):
    """The client, or the link to it, has gone: nothing more can be sent."""


def http_scope(head: RequestHead, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the ASGI scope of a request. ``state`` is what the application's lifespan left."""
    return {
        "type": "http",
        "asgi": ASGI_VERSION,
        "http_version": head.http_version,
        "method": head.method,
        "scheme": head.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": head.route.rstrip("/"),
        "headers": head.headers,
        "client": head.client,
        "server": head.server,
        "state": dict(state) if state else {},
    }


_NONE: Final[deque[tuple[bytes, int]]] = deque(maxlen=0)  # of every request without a body: it stays empty


class IncomingBody:
    """A peer's body as it arrives. Credit goes back when a part is taken, so an idle reader holds the peer up."""

    __slots__ = ("_changed", "_parts", "ended", "gone", "stream")

    def __init__(self, first: bytes, ended: bool) -> None:
        self.stream: Stream | None = None  # None until more than the first part is expected
        self.ended = ended  # the peer has sent all of it
        self.gone = False  # the peer has left: no more will come, and nobody waits for the answer
        self._parts: deque[tuple[bytes, int]] = _NONE  # (bytes, credit they cost)
        self._changed: asyncio.Future[None] | None = None
        if first or not ended:
            self._parts = deque(((first, 0),)) if first else deque()

    def feed(self, stream: Stream, data: bytes, end: bool) -> None:
        self.stream = stream
        self.ended = self.ended or end
        if data:
            self._parts.append((data, len(data)))
        self._wake()

    def leave(self) -> None:
        """The peer has gone: whoever reads is told at once."""
        self.gone = True
        self._wake()

    @property
    def complete(self) -> bytes | None:
        """The whole body if it is all here in at most one untaken part, else None."""
        parts = self._parts
        if not self.ended or len(parts) > 1:
            return None
        return parts[0][0] if parts else b""

    async def part(self) -> tuple[bytes, bool]:
        """Return the next part and whether more follow. Raises ``ClientDisconnected``."""
        while not self._parts:
            if self.gone:
                raise ClientDisconnected("the client has gone")
            if self.ended:
                return b"", False
            await self._wait()
        data, credit = self._parts.popleft()
        if credit and self.stream is not None:
            self.stream.consumed(credit)
        return data, bool(self._parts) or not self.ended

    async def until_gone(self) -> None:
        """Return when the peer has gone."""
        while not self.gone:
            await self._wait()

    async def _wait(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class HttpExchange:
    """``receive`` and ``send`` of one HTTP request over its stream."""

    __slots__ = ("_body", "_body_taken", "_make_head", "_pending", "_stream", "complete", "started", "status")

    def __init__(self, stream: Stream, body: IncomingBody, make_head: MakeHead) -> None:
        self._stream = stream
        self._body = body
        self._make_head = make_head
        self._body_taken = False  # the last part of the request's body was handed over
        self._pending: tuple[int, Headers] | None = None  # a response start that waits for its first body part
        self.started = False  # a RESPONSE frame is on its way
        self.complete = False  # our half has ended
        self.status = 0  # 0 until the application has named one

    async def receive(self) -> Message:
        if self._body_taken:
            await self._body.until_gone()
            return {"type": "http.disconnect"}
        try:
            data, more = await self._body.part()
        except ClientDisconnected:
            return {"type": "http.disconnect"}
        self._body_taken = not more
        return {"type": "http.request", "body": data, "more_body": more}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._body.gone:
            raise ClientDisconnected("the client has gone")
        if kind == "http.response.start":
            if self.status:
                raise RuntimeError("http.response.start was sent twice")
            self.status = message["status"]
            self._pending = (self.status, _pairs(message.get("headers", ())))
        elif kind == "http.response.body":
            if not self.status or self.complete:
                raise RuntimeError(f"http.response.body {'after the end' if self.complete else 'before its start'}")
            await self._send_body(message.get("body", b""), end=not message.get("more_body", False))
        else:
            raise RuntimeError(f"an application cannot send {kind!r} here")

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer: one frame if the body fits, else body frames under credit."""
        self.status = status
        self._pending = (status, headers)
        await self._send_body(body, end=True)

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head alone; the body follows through ``send``."""
        self.status = status
        self._start(status, headers, b"", end=False)

    async def _send_body(self, body: bytes | memoryview, end: bool) -> None:
        if self._pending is not None:
            (status, headers), self._pending = self._pending, None
            fits = len(body) <= BODY_CHUNK
            self._start(status, headers, bytes(body) if fits else b"", end=end and fits)
            if fits:
                return
        if not body and not end:
            return
        try:
            if not (len(body) <= BODY_CHUNK and self._stream.send_body_now(bytes(body), end)):
                await self._stream.send_body(body, end)
        except (LinkLost, StreamStopped, StreamEnded) as exc:
            raise ClientDisconnected(exc.message) from exc
        self.complete = self.complete or end

    def _start(self, status: int, headers: Headers, first: bytes, end: bool) -> None:
        try:
            self._stream.send(RESPONSE, encode_head(self._make_head(status, headers, first)), END if end else 0)
        except StreamEnded as exc:
            raise ClientDisconnected(exc.message) from exc
        self.started = True
        self.complete = end


def _pairs(headers: Any) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in headers]
