"""ASGI websockets over a stream.

The opener sends a REQUEST with scheme ``ws`` or ``wss``. The application's ``accept`` is a RESPONSE of status 101
(its headers hold the subprotocol); then MESSAGE frames go both ways (``MORE`` joins parts, ``TEXT`` marks text) and
CLOSE ends the stream. A refusal before ``accept`` is an ordinary RESPONSE: 403, or the one the application sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from runtime.errors import LinkLost
from runtime.link.asgi import ASGI_VERSION, ClientDisconnected, MakeHead, Message
from runtime.link.frames import (
    CLOSE,
    END,
    MESSAGE,
    MORE,
    RESPONSE,
    TEXT,
    Close,
    Headers,
    RequestHead,
    decode_head,
    encode_head,
)  # fmt: skip
from runtime.link.stream import Stream, StreamEnded, StreamStopped

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
GOING_AWAY: Final = 1001
ABNORMAL: Final = 1006
TOO_BIG: Final = 1009


def websocket_scope(head: RequestHead, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the ASGI scope of a websocket's handshake."""
    offered = [value for name, value in head.headers if name.lower() == b"sec-websocket-protocol"]
    return {
        "type": "websocket",
        "asgi": ASGI_VERSION,
        "http_version": head.http_version,
        "scheme": head.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": head.route.rstrip("/"),
        "headers": head.headers,
        "client": head.client,
        "server": head.server,
        "subprotocols": [part.strip() for value in offered for part in value.decode("latin-1").split(",")],
        "state": dict(state) if state else {},
        "extensions": {"websocket.http.response": {}},
    }


class WebsocketExchange:
    """``receive`` and ``send`` of one websocket over its stream."""

    def __init__(self, stream: Stream, make_head: MakeHead) -> None:
        self._stream = stream
        self._make_head = make_head
        self._inbox: deque[tuple[Message, int]] = deque([({"type": "websocket.connect"}, 0)])  # (message, credit)
        self._partial = bytearray()  # parts of a message whose end has not come
        self._changed = asyncio.Event()
        self._denial: tuple[int, Headers] | None = None  # a refusal that waits for its body
        self._disconnected: Message | None = None  # what receive says from now on
        self.told = False  # the application knows that the peer has closed or gone
        self.accepted = False
        self.complete = False  # our half has ended
        self.status = 0

    # --- from the stream ----------------------------------------------------------------------------------

    def frame(self, kind: int, payload: memoryview, flags: int) -> None:
        """Take a MESSAGE or CLOSE frame of the peer."""
        if kind == CLOSE:
            close = decode_head(Close, payload)
            self.disconnect(close.code, close.reason)
        elif kind == MESSAGE and self._disconnected is None:
            self._part(payload, flags)

    def disconnect(self, code: int = ABNORMAL, reason: str = "") -> None:
        """The peer has closed or gone."""
        if self._disconnected is None:
            self._disconnected = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._changed.set()

    def _part(self, payload: memoryview, flags: int) -> None:
        self._partial += payload
        if len(self._partial) > MAX_MESSAGE_BYTES:
            self._close(TOO_BIG, f"a message is over {MAX_MESSAGE_BYTES} bytes")
            self.disconnect(TOO_BIG)
        elif flags & MORE:
            self._stream.consumed(len(payload))  # at once: a message may be larger than the window
        else:
            data, self._partial = bytes(self._partial), bytearray()
            self._inbox.append((_received(data, bool(flags & TEXT)), len(payload)))
            self._changed.set()

    # --- ASGI ---------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        while not self._inbox:
            if self._disconnected is not None:
                self.told = True
                return self._disconnected
            self._changed.clear()
            await self._changed.wait()
        message, credit = self._inbox.popleft()
        if credit:
            self._stream.consumed(credit)
        return message

    async def send(self, message: Message) -> None:
        if self._disconnected is not None:
            self.told = True
            raise ClientDisconnected("the client has gone")
        kind = message["type"]
        try:
            if self.accepted and kind == "websocket.send":
                await self._send(message)
            elif kind == "websocket.close" and not self.complete:
                self._finish(message.get("code") or 1000, message.get("reason") or "")
            elif not self.status and kind == "websocket.accept":
                self._accept(message)
            elif not self.status and kind == "websocket.http.response.start":
                self.status = message["status"]
                self._denial = (self.status, list(message.get("headers", ())))
            elif self.status and not self.accepted and kind == "websocket.http.response.body":
                await self._deny(message.get("body", b""), more=message.get("more_body", False))
            else:
                raise RuntimeError(f"an application cannot send {kind!r} here")
        except (LinkLost, StreamEnded, StreamStopped) as exc:
            raise ClientDisconnected(exc.message) from exc

    def _accept(self, message: Message) -> None:
        headers: Headers = [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]
        if message.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin-1")))
        self.status, self.accepted = 101, True
        self._stream.send(RESPONSE, encode_head(self._make_head(101, headers, b"")))

    async def _send(self, message: Message) -> None:
        text = message.get("text")
        data = text.encode() if text is not None else bytes(message["bytes"])
        await self._stream.send_message(data, text is not None)

    async def _deny(self, body: bytes, more: bool) -> None:
        if self._denial is not None:
            (status, headers), self._denial = self._denial, None
            self._stream.send(RESPONSE, encode_head(self._make_head(status, headers, b"")))
        await self._stream.send_body(body, end=not more)
        self.complete = not more

    def _finish(self, code: int, reason: str) -> None:
        if self.accepted:
            self._close(code, reason)
            return
        self.status = 403
        self._stream.send(RESPONSE, encode_head(self._make_head(403, [], b"")), END)
        self.complete = True

    def _close(self, code: int, reason: str) -> None:
        self._stream.close_message(encode_head(Close(code, reason[:120])))
        self.complete = True

    def end(self, failed: bool) -> None:
        """The application has returned (or raised): close what it left open."""
        if self.complete or self._stream.local_ended or self._stream.closed:
            return
        self._finish(1011 if failed else 1000, "")


def _received(data: bytes, text: bool) -> Message:
    if text:
        return {"type": "websocket.receive", "text": data.decode("utf-8", "replace")}
    return {"type": "websocket.receive", "bytes": data}
