"""Websockets, relayed: uvicorn speaks the protocol with the client, MESSAGE and CLOSE frames go over the link."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from runtime.errors import LinkLost, MuxError, UserCodeError
from runtime.link.frames import (
    CLOSE,
    MESSAGE,
    MORE,
    RESPONSE,
    TEXT,
    Close,
    ResponseHead,
    decode_head,
    encode_head,
)
from runtime.link.stream import StreamEnded, StreamStopped
from runtime.router.answers import AnswerHead, safe_head
from runtime.router.exchange import Exchange
from runtime.router.front import CONNECTION, Message, ReceiveMessage, Scope, SendMessage, head_of

if TYPE_CHECKING:
    from runtime.link.stream import Stream
    from runtime.router.admission import Admission

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
UNREAD_S: Final = 30.0  # for the application to read what a client that has vanished had sent
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011
SWITCHING: Final = 101
_SUBPROTOCOL: Final = b"sec-websocket-protocol"


class WebsocketClient:
    """Implements ``Client`` and ``Guest``: a queue between the link's callbacks and a coroutine."""

    def __init__(self) -> None:
        self.exchange: WebsocketExchange | None = None  # set before anything is called
        self.ended = False  # nothing more will be queued
        self._lost = False  # the client has vanished: what the application sends is dropped
        self._queue: deque[tuple[Message, int]] = deque()  # (message, credit)
        self._changed = asyncio.Event()

    def accepted(self, head: AnswerHead) -> None:
        names = [value.decode("latin-1") for name, value in head.headers if name == _SUBPROTOCOL]
        headers = [pair for pair in head.headers if pair[0] != _SUBPROTOCOL]
        subprotocol = names[0] if names else None
        self._put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers}, 0)

    def message(self, data: bytes, text: bool, credit: int) -> None:
        kind: Message = {"text": data.decode("utf-8", "replace")} if text else {"bytes": data}
        self._put({"type": "websocket.send", **kind}, credit)

    def closed(self, code: int, reason: str) -> None:
        self._put({"type": "websocket.close", "code": code, "reason": reason}, 0)
        self.ended = True

    def started(self, head: AnswerHead, body: bytes, end: bool) -> None:
        """The handshake is refused with an HTTP answer."""
        self._put({"type": "websocket.http.response.start", "status": head.status, "headers": head.headers}, 0)
        self.data(body, end)

    def data(self, body: bytes, end: bool) -> None:
        self._put({"type": "websocket.http.response.body", "body": body, "more_body": not end}, len(body))
        self.ended = end

    def broken(self) -> None:
        self.closed(INTERNAL_ERROR, "the replica failed")

    def gone(self) -> None:
        """The connection is lost. An open socket's application hears of it behind what the client had sent before."""
        if self.exchange is None or not self.exchange.is_open:
            self.give_up()
        elif not self._lost:
            self._lost = True
            self._changed.set()
            asyncio.get_running_loop().call_later(UNREAD_S, self.give_up)

    def give_up(self) -> None:
        """Cancel the request, unless it has ended."""
        if self.exchange is not None:
            self.exchange.client_gone()
        self.leave()

    def leave(self) -> None:
        """Nothing can be sent any more; the connection's loss is no news."""
        self.exchange = None
        self._queue.clear()
        self.ended = True
        self._changed.set()

    def refuse(self, error: MuxError) -> None:
        if self.exchange is not None:
            self.exchange.refuse(error)

    async def run(self, send: SendMessage) -> None:
        """Send until the end."""
        while self._queue or not self.ended:
            if not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            message, credit = self._queue.popleft()
            if not self._lost:
                await send(message)
            if credit and self.exchange is not None:
                self.exchange.taken(credit)

    def _put(self, message: Message, credit: int) -> None:
        self._queue.append((message, credit))
        self._changed.set()


class WebsocketExchange(Exchange):
    """An exchange whose answer may be an open websocket."""

    __slots__ = ("_partial", "accepted", "socket")

    open_ended: ClassVar[bool] = True

    def __init__(self, admission: Admission, socket: WebsocketClient, scope: Scope) -> None:
        desk = admission.desk
        super().__init__(desk, socket, "GET", scope["path"], "", desk.clock())
        self.peer = scope["client"]
        self.socket = socket
        self.accepted = asyncio.Event()
        self._partial = bytearray()

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == MESSAGE:
            self._message(stream, payload, flags)
        elif kind == CLOSE:
            close = decode_head(Close, payload)
            if self.client is not None:
                self._end_client()
                self.socket.closed(close.code, close.reason)
            self._finished()
        elif kind == RESPONSE and not self.started_answer:
            head = decode_head(ResponseHead, payload)
            if head.status == SWITCHING:
                self._accept(head)
            else:
                super().head(stream, kind, payload, flags)
        else:
            super().head(stream, kind, payload, flags)

    @property
    def is_open(self) -> bool:
        return self.accepted.is_set() and self.stream is not None

    def close(self, code: int, reason: str) -> None:
        """The client has closed or vanished: the application hears of it and ends by itself."""
        if not self.is_open or self.stream is None:
            self.socket.give_up()
            return
        if self.client is not None:
            self._end_client()
        self.stream.close_message(encode_head(Close(code, reason[:120])))
        self.socket.leave()

    def _accept(self, head: ResponseHead) -> None:
        if self.client is None:
            return
        if self.deadline:  # it bounds the handshake: a socket may stay open for as long as both want it
            self.desk.timed.pop(self, None)
        try:
            answer = safe_head(200, head.headers, "GET")
        except UserCodeError as error:
            self._answer_error(error)
            self._cancel_stream()
            return
        self.cache = self.cache or head.cache
        self.load_ms = head.load_ms
        self.started_answer = True
        self.status = SWITCHING
        self.desk.sign(self, answer)
        self.socket.accepted(answer)
        self.accepted.set()

    def _message(self, stream: Stream, payload: memoryview, flags: int) -> None:
        size = len(payload)
        if self.client is None:
            stream.consumed(size)
            return
        self._partial += payload
        if len(self._partial) > MAX_MESSAGE_BYTES:
            self._break()
            self._cancel_stream()
        elif flags & MORE:
            stream.consumed(size)  # at once: a message may be larger than the window
        else:
            data, self._partial = bytes(self._partial), bytearray()
            self.socket.message(data, bool(flags & TEXT), size)


class Websockets:
    """The ASGI application for websockets."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: ReceiveMessage, send: SendMessage) -> None:
        client = WebsocketClient()
        exchange = WebsocketExchange(self._admission, client, scope)
        client.exchange = exchange
        connection: Any = scope[CONNECTION]
        connection.guest = client
        await receive()  # websocket.connect
        head = head_of(scope)
        try:
            self._admission.admit(exchange, head, self._admission.read(head.headers))
            self._admission.submit(exchange)
        except MuxError as error:
            exchange.refuse(error)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(_read(exchange, receive))
            await client.run(send)
            reader.cancel()
        connection.guest = None


async def _read(exchange: WebsocketExchange, receive: ReceiveMessage) -> None:
    """Relay the client's messages, once the application has accepted."""
    await exchange.accepted.wait()
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            exchange.close(int(message.get("code") or ABNORMAL), str(message.get("reason") or ""))
            return
        stream = exchange.stream
        if stream is None:
            return
        text = message.get("text")
        data = text.encode() if text is not None else message.get("bytes", b"")
        try:
            await stream.send_message(data, text is not None)
        except (LinkLost, StreamStopped, StreamEnded):
            return  # the other direction says how it ended
