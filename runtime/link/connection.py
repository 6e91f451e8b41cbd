"""One link: a framed connection between two processes, with streams. The asyncio shell of ``frames``.

Writes are gathered for a loop turn or a few frames: control, credit and heads first, bodies last. Reading is
never paused: credit per stream bounds what the peer can send, so pausing could only deadlock.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import socket
from collections.abc import Callable
from typing import Final, cast

from runtime.errors import LinkLost, ProtocolError
from runtime.link import frames
from runtime.link.credit import SHARED_BUDGET, CreditBudget
from runtime.link.frames import (
    ABORT,
    BODY,
    CALL,
    CANCEL,
    COMMAND,
    CREDIT,
    END,
    GOAWAY,
    HELLO,
    MAX_STREAM,
    MESSAGE,
    PING,
    PONG,
    REFUSED,
    REPLY,
    REQUEST,
    RESPONSE,
    STATE,
    STOP,
    Command,
    Hello,
    Reply,
    State,
    decode_head,
    encode_head,
)
from runtime.link.handlers import LinkHandler, StreamHandler
from runtime.link.inbox import Inbox
from runtime.link.memory import HAS_SEGMENTS, Memory
from runtime.link.outbox import FEW, Outbox
from runtime.link.stream import Stream

HELLO_TIMEOUT_S: Final = 5.0
_numbers = itertools.count(1)


class Link(asyncio.BufferedProtocol):
    """One end of a connection. ``accepting``: the side that listened, which checks the token."""

    def __init__(
        self,
        hello: Callable[[], Hello],
        handler: LinkHandler,
        *,
        accepting: bool,
        token: str = "",
        budget: CreditBudget = SHARED_BUDGET,
    ) -> None:
        self.id = next(_numbers)
        self.peer: Hello = hello()
        self.alive = False
        self.streams: dict[int, Stream] = {}
        self.waiting: dict[Stream, None] = {}  # streams whose sender waits for room, in order
        self.budget = budget
        self.memory: Memory | None = None  # where large arguments go; on links within this machine
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self._hello = hello
        self._handler = handler
        self._accepting = accepting
        self._token = token
        self._greeted = False
        self._lost = False
        self._why = "the connection was closed"
        self._transport: asyncio.Transport | None = None
        self._next_stream = 2 if accepting else 1
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._ping_numbers = itertools.count(1)
        self.outbox = Outbox(self.loop)
        self._inbox = Inbox(self._received)

    def __repr__(self) -> str:
        return f"<Link {self.id} to {self.peer.id or '?'} alive={self.alive} streams={len(self.streams)}>"

    # --- for the users of the link ------------------------------------------------------------------------

    def open(self, kind: int, head: bytes, handler: StreamHandler, flags: int = 0) -> Stream:
        """Open a stream with a REQUEST or CALL. Raises ``LinkLost`` on a dead link."""
        if not self.alive:
            raise LinkLost("the link is down")
        number = self._next_stream
        while number in self.streams:
            number = self._after(number)
        self._next_stream = self._after(number)
        stream = self.streams[number] = Stream(self, number, True, handler)
        frame = frames.header(kind, number, len(head), flags) + head
        if not flags & END:
            self.outbox.head(frame)
            return stream
        stream.local_ended = True
        if len(self.streams) <= FEW:
            self.outbox.last(frame)
        else:
            self.outbox.head(frame)
        return stream

    def command(self, command: Command) -> None:
        self.outbox.head(frames.frame(COMMAND, 0, encode_head(command)))

    def reply(self, reply: Reply) -> None:
        self.outbox.head(frames.frame(REPLY, 0, encode_head(reply)))

    def send_state(self, state: State) -> None:
        """Push a state; one over the frame limit goes as several, all but the first as deltas."""
        payload = encode_head(state)
        if len(payload) <= frames.LIMITS[STATE]:
            self.outbox.head(frames.frame(STATE, 0, payload))
            return
        middle = len(state.models) // 2
        self.send_state(State(state.seq, state.snapshot, state.models[:middle], state.summary))
        self.send_state(State(state.seq, False, state.models[middle:], state.summary))

    async def ping(self, timeout_s: float) -> float:
        """Return the round trip in seconds. Raises ``TimeoutError`` or ``LinkLost``."""
        if not self.alive:
            raise LinkLost("the link is down")
        mark = next(self._ping_numbers).to_bytes(8, "big")
        answer = self._pings[mark] = self.loop.create_future()
        started = self.loop.time()
        self.outbox.head(frames.frame(PING, 0, mark))
        try:
            async with asyncio.timeout(timeout_s):
                await answer
        finally:
            self._pings.pop(mark, None)
        return self.loop.time() - started

    def goaway(self, reason: str) -> None:
        """Say that this side opens nothing more."""
        self.outbox.head(frames.frame(GOAWAY, 0, reason.encode()[:1024]))

    def close(self, why: str) -> None:
        """Flush what is queued and close; every open stream is lost."""
        self._why = why
        if self._transport is not None and not self._transport.is_closing():
            self.outbox.flush()
            self._transport.close()

    def forget(self, stream: Stream) -> None:
        """Drop a stream that has ended; late frames of its number are ignored."""
        if self.streams.get(stream.id) is stream:
            del self.streams[stream.id]
        stream.forget()

    def _after(self, number: int) -> int:
        following = number + 2
        return following if following <= MAX_STREAM else (2 if self._accepting else 1)

    # --- asyncio's callbacks ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.outbox.attach(self._transport)
        connection = transport.get_extra_info("socket")
        if HAS_SEGMENTS and connection is not None and connection.family == socket.AF_UNIX:
            self.memory = Memory(self.loop)
        self._hello_timer = self.loop.call_later(HELLO_TIMEOUT_S, self._hello_late)
        if not self._accepting:
            self._send_hello()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hello_timer.cancel()
        was_alive, self.alive, self._lost = self.alive, False, True
        if self.memory is not None:
            self.memory.close()
        if exc is not None:
            self._why = str(exc) or type(exc).__name__
        for stream in list(self.streams.values()):
            handler = stream.handler
            self.forget(stream)
            handler.lost(stream)
        for answer in self._pings.values():
            if not answer.done():
                answer.set_exception(LinkLost(self._why))
        if not self.ready.done():
            if self._accepting:
                self.ready.cancel()
            else:
                self.ready.set_exception(LinkLost(self._why))
        if was_alive:
            self._handler.lost(self, self._why)

    def pause_writing(self) -> None:
        self.outbox.paused = True

    def resume_writing(self) -> None:
        self.outbox.paused = False
        for stream in list(self.waiting):
            stream.wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox.free()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._inbox.filled(nbytes)
        except ProtocolError as exc:
            self.goaway(exc.message)
            self.close(exc.message)

    def eof_received(self) -> bool:
        return False

    # --- frames -------------------------------------------------------------------------------------------

    def _received(self, kind: int, number: int, flags: int, payload: memoryview) -> bool:
        if number == 0:
            self._control(kind, payload)
        elif not self._greeted:
            raise ProtocolError("a stream before the hello")
        elif kind == REQUEST or kind == CALL:
            self._opened(number, kind, flags, payload)
        else:
            stream = self.streams.get(number)
            if stream is None:
                pass  # a late word on a stream that has ended
            elif kind == RESPONSE:
                self._head(stream, kind, flags, payload)
            else:
                self._on_stream(stream, kind, flags, payload)
        return not self._lost

    def _on_stream(self, stream: Stream, kind: int, flags: int, payload: memoryview) -> None:
        if kind == BODY:
            self._body(stream, payload, bool(flags & END))
        elif kind == CREDIT:
            stream.receive_credit(int.from_bytes(payload, "big"))
        elif kind == STOP:
            stream.receive_stop()
            stream.handler.stopped(stream)
        elif kind == CANCEL:
            stream.remote_ended = True
            stream.handler.cancelled(stream)
        else:
            self._head(stream, kind, flags, payload)

    def _opened(self, number: int, kind: int, flags: int, payload: memoryview) -> None:
        if number in self.streams or number % 2 == (0 if self._accepting else 1):
            raise ProtocolError(f"stream {number} cannot be opened")
        stream = self.streams[number] = Stream(self, number, False)
        stream.remote_ended = bool(flags & END)
        handler = self._handler.opened(stream, kind, payload, flags)
        if not stream.closed:
            stream.handler = handler

    def _body(self, stream: Stream, payload: memoryview, end: bool) -> None:
        if stream.remote_ended:
            raise ProtocolError(f"body on stream {stream.id} after its end")
        stream.receive_body(len(payload))
        handler = stream.handler
        if end:
            self._remote_end(stream)
        handler.body(stream, bytes(payload), end)

    def _head(self, stream: Stream, kind: int, flags: int, payload: memoryview) -> None:
        if kind == MESSAGE:
            stream.receive_body(len(payload))
        handler = stream.handler
        if flags & END or kind == REFUSED or kind == ABORT:
            self._remote_end(stream)
        handler.head(stream, kind, payload, flags)

    def _remote_end(self, stream: Stream) -> None:
        """The peer's half is done; if the peer is the acceptor that was its terminal frame."""
        stream.remote_ended = True
        if stream.opener:
            self.streams.pop(stream.id, None)
            stream.forget()

    def _control(self, kind: int, payload: memoryview) -> None:
        if kind == HELLO:
            self._greet(decode_head(Hello, payload))
        elif not self._greeted and kind != GOAWAY:
            raise ProtocolError("no hello yet")
        elif kind == COMMAND:
            self._handler.command(self, decode_head(Command, payload))
        elif kind == STATE:
            self._handler.state(self, decode_head(State, payload))
        elif kind == REPLY:
            self._handler.reply(self, decode_head(Reply, payload))
        elif kind == PING:
            self.outbox.head(frames.frame(PONG, 0, bytes(payload)))
        elif kind == PONG:
            answer = self._pings.get(bytes(payload))
            if answer is not None and not answer.done():
                answer.set_result(None)
        elif kind == GOAWAY:
            self._goneaway(bytes(payload).decode(errors="replace"))
        else:
            raise ProtocolError(f"a {frames.TYPE_NAMES[kind]} frame on stream 0")

    def _goneaway(self, reason: str) -> None:
        if self._greeted:
            self._handler.goaway(self, reason)
        else:
            self._why = reason

    def _greet(self, hello: Hello) -> None:
        if self._greeted:
            raise ProtocolError("a second hello")
        if hello.magic != frames.MAGIC or hello.version != frames.VERSION:
            raise ProtocolError(f"the peer speaks {hello.magic} {hello.version}, not mux {frames.VERSION}")
        if self._accepting and not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            raise ProtocolError("the token is wrong")
        self._hello_timer.cancel()
        self.peer = hello
        if self._accepting:
            self._send_hello()
        self._greeted = self.alive = True
        self._handler.connected(self)
        if not self.ready.done():
            self.ready.set_result(None)

    def _send_hello(self) -> None:
        self.outbox.head(frames.frame(HELLO, 0, encode_head(self._hello())))

    def _hello_late(self) -> None:
        self.close(f"no hello within {HELLO_TIMEOUT_S:g} s")
