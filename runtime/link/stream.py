"""One stream of a link: heads, credit for bodies, and exactly one end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from runtime.errors import LinkLost, MuxError, ProtocolError
from runtime.link import frames
from runtime.link.frames import (
    ABORT,
    BODY,
    BODY_CHUNK,
    CANCEL,
    CLOSE,
    END,
    INITIAL_WINDOW,
    KIB,
    MESSAGE,
    MORE,
    REFUSED,
    STOP,
    TEXT,
    header,
)
from runtime.link.handlers import NOBODY
from runtime.link.outbox import FEW

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.handlers import StreamHandler


WORTH_A_WRITE_OF_ITS_OWN: Final = 4 * KIB  # bytes of body; fewer are cheaper to copy behind their header


class StreamStopped(MuxError):
    """The peer asked for no more body."""

    code = "stream_stopped"


class StreamEnded(MuxError):
    """The stream has ended; nothing more can be sent on it."""

    code = "stream_ended"


class Stream:
    """One request or call. The opener may ``cancel``; the other side sends the one terminal frame."""

    __slots__ = (
        "_granted", "_room", "_unacked", "_waiter", "_window", "body_turn", "closed", "handler", "id", "key",
        "link", "local_ended", "opener", "remote_ended", "stop_received",
    )  # fmt: skip

    def __init__(self, link: Link, number: int, opener: bool, handler: StreamHandler | None = None) -> None:
        self.link = link
        self.id = number
        self.key = (link.id, number)
        self.opener = opener
        if handler is not None:
            self.handler = handler
        self.local_ended = False  # our half: no more body, message or head from us
        self.remote_ended = False
        self.closed = False  # forgotten by the link: frames of this number mean another stream
        self.stop_received = False
        self.body_turn = -1  # the link's turn in which we last queued body: later heads must not overtake it
        self._room = INITIAL_WINDOW  # body bytes that we may still send
        self._granted = INITIAL_WINDOW  # body bytes that the peer may still send
        self._window = INITIAL_WINDOW  # what we keep granted to the peer
        self._unacked = 0  # consumed here, not yet granted again
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        side = "opener" if self.opener else "acceptor"
        return f"<Stream {self.id} {side} local_ended={self.local_ended} remote_ended={self.remote_ended}>"

    # --- sending ----------------------------------------------------------------------------------------

    def send(self, kind: int, payload: bytes = b"", flags: int = 0) -> None:
        """Queue a head. Never blocks. Raises ``StreamEnded`` after our half has ended."""
        if self.local_ended or self.closed:
            raise StreamEnded(f"stream {self.id} has ended")
        outbox = self.link.outbox
        frame = header(kind, self.id, len(payload), flags) + payload
        if self.body_turn == outbox.turn and kind != ABORT:
            outbox.body(frame)
        elif flags & END and len(self.link.streams) <= FEW:
            outbox.last(frame)
        else:
            outbox.head(frame)
        if flags & END or kind == REFUSED or kind == ABORT:
            self._end_local(terminal=not self.opener)

    def send_body_now(self, data: bytes, end: bool = False) -> bool:
        """Queue at most ``BODY_CHUNK`` bytes if credit and the high-water mark allow; else send nothing."""
        if self.local_ended or self.closed:
            raise StreamEnded(f"stream {self.id} has ended")
        size = len(data)
        if size > BODY_CHUNK or (size and (self._room < size or self.link.outbox.paused)):
            return False
        self._room -= size
        self._queue_body(BODY, data, END if end else 0)
        return True

    async def send_body(self, data: bytes | memoryview, end: bool = False) -> None:
        """Send ``data`` in chunks, waiting for credit. Raises ``LinkLost``, ``StreamStopped``, ``StreamEnded``."""
        await self._send_chunks(BODY, data, END if end else 0, 0)

    async def send_message(self, data: bytes, text: bool) -> None:
        """Send one websocket message, in chunks under credit. Raises as ``send_body``."""
        kind = TEXT if text else 0
        await self._send_chunks(MESSAGE, data, kind, kind | MORE)

    async def _send_chunks(self, kind: int, data: bytes | memoryview, last: int, middle: int) -> None:
        view = memoryview(data).cast("B")
        fixed = type(view.obj) is bytes  # cannot change before it is written, so it need not be copied
        size, start = len(view), 0
        while True:
            room = await self._wait_for_room(size - start)
            stop = min(start + BODY_CHUNK, start + room, size)
            self._room -= stop - start
            part = view[start:stop]
            self._queue_body(kind, part if fixed else bytes(part), last if stop == size else middle)
            start = stop
            if start == size:
                return

    async def _wait_for_room(self, size: int) -> int:
        """Wait until something of ``size`` bytes may go; return how much at most."""
        while True:
            if self.closed and not self.link.alive:
                raise LinkLost("the link was lost")
            if self.stop_received:
                raise StreamStopped(f"the peer stopped stream {self.id}")
            if self.local_ended or self.closed:
                raise StreamEnded(f"stream {self.id} has ended")
            if not self.link.outbox.paused and (self._room > 0 or size == 0):
                return self._room
            self._waiter = asyncio.get_running_loop().create_future()
            self.link.waiting[self] = None
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.link.waiting.pop(self, None)

    def _queue_body(self, kind: int, data: bytes | memoryview, flags: int) -> None:
        outbox = self.link.outbox
        self.body_turn = outbox.turn
        if len(data) < WORTH_A_WRITE_OF_ITS_OWN:
            outbox.body(frames.frame(kind, self.id, data, flags))
        else:
            outbox.body(frames.header(kind, self.id, len(data), flags))
            outbox.body(data)
        if flags & END:
            self._end_local(terminal=not self.opener)

    def close_message(self, payload: bytes) -> None:
        """Queue a websocket close behind the messages already queued; it ends our half."""
        if not (self.local_ended or self.closed):
            self._queue_body(CLOSE, payload, END)

    def consumed(self, size: int) -> None:
        """Hand ``size`` body bytes of credit back to the peer, once a quarter of the window has gathered."""
        if self.remote_ended or self.closed or (self.local_ended and not self.opener):
            return
        self._unacked += size
        if self._unacked * 4 < self._window:
            return
        grant = self._unacked
        if self._window < frames.MAX_WINDOW and self.link.budget.take(self._window):
            grant += self._window
            self._window *= 2
        self._unacked = 0
        self._granted += grant
        self.link.outbox.head(frames.credit(self.id, grant))

    def stop(self) -> None:
        """Tell the peer to send no more body."""
        if not (self.remote_ended or self.closed):
            self.link.outbox.head(frames.frame(STOP, self.id))

    def cancel(self) -> None:
        """Give the stream up (opener only). The peer still answers with a terminal frame."""
        if self.opener and not self.closed:
            self.local_ended = True
            self.link.outbox.head(frames.frame(CANCEL, self.id))
            self.wake()

    # --- what the link tells us ---------------------------------------------------------------------------

    def receive_body(self, size: int) -> None:
        """Count received body bytes against what was granted. Raises ``ProtocolError`` when overdrawn."""
        self._granted -= size
        if self._granted < 0:
            raise ProtocolError(f"stream {self.id} sent {-self._granted} body bytes more than it had credit for")

    def receive_credit(self, amount: int) -> None:
        self._room += amount
        self.wake()

    def receive_stop(self) -> None:
        self.stop_received = True
        if self.opener:
            self.local_ended = True
        self.wake()

    def wake(self) -> None:
        """Let a sender that waits for room look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def forget(self) -> None:
        """The stream is over: give the window's growth back, wake whoever waits, and let the handler go.

        Handlers know their streams: left to the collector, those cycles were a tenth of a router's time.
        """
        if not self.closed:
            self.closed = True
            self.handler = NOBODY
            if self._window != INITIAL_WINDOW:
                self.link.budget.give(self._window - INITIAL_WINDOW)
            if self._waiter is not None:
                self.wake()

    def _end_local(self, terminal: bool) -> None:
        self.local_ended = True
        if terminal:
            self.link.streams.pop(self.id, None)
            self.forget()
