"""A streaming call's results, as its caller takes them."""

from __future__ import annotations

import asyncio
from collections import deque

from runtime.errors import ProtocolError
from runtime.link.connection import Link
from runtime.link.frames import ABORT, END, REFUSED, RESULT, Abort, CallHead, Refused, ResultHead, decode_head
from runtime.link.stream import Stream
from runtime.serve.codec import Encoded
from runtime.serve.failures import failure_error, refusal_error
from runtime.serve.outgoing import Outgoing
from runtime.serve.unary import Answer, lost_error


class Answers:
    """A streaming call's handler: the results in order. Credit for items is held back while others wait."""

    def __init__(self, link: Link, head: CallHead, arguments: Encoded) -> None:
        self.what = f"{head.deployment}.{head.method}"
        self._loop = link.loop
        self._arriving: Answer | None = None
        self._ready: deque[Answer] = deque()
        self._failure: Exception | None = None
        self._over = False  # a terminal frame has come, or the link has gone
        self._wake: asyncio.Future[None] | None = None
        self._out = Outgoing(link, head, arguments, self)

    async def next(self) -> Answer:
        """Wait for the next result. Raises the error that ended the stream."""
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise ProtocolError(f"the call of {self.what} ended without a result")
            self._wake = self._loop.create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        answer = self._ready.popleft()
        if answer.owed:
            self._out.consumed(answer.owed)
        return answer

    def give_up(self) -> None:
        """Cancel the call unless it has ended."""
        if self._over:
            self._out.end()
        else:
            self._over = True
            self._out.cancel()

    def fail(self, error: Exception) -> None:
        if not self._over:
            self._failure = error
        self._ended(True)

    # --- the link's callbacks -----------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == RESULT:
            self._result(decode_head(ResultHead, payload))
            self._ended(bool(flags & END))
        elif kind == REFUSED:
            refused = decode_head(Refused, payload)
            if self._over or not self._out.again(refused.why):
                self.fail(refusal_error(refused))
        elif kind == ABORT:
            self.fail(failure_error(decode_head(Abort, payload), "aborted"))

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        answer = self._arriving
        if answer is None:
            if data:
                raise ProtocolError(f"body bytes without a result in the answer of {self.what}")
        else:
            answer.incoming.feed(data)
            if self._ready:
                answer.owed += len(data)
            else:
                stream.consumed(len(data))
            self._deliver(answer)
        self._ended(end)

    def stopped(self, stream: Stream) -> None:
        """Whoever sends the arguments learns it from ``send_body``."""

    def cancelled(self, stream: Stream) -> None:
        """Only openers cancel, and this is the opener."""

    def lost(self, stream: Stream) -> None:
        self.fail(lost_error(self.what))

    def _result(self, head: ResultHead) -> None:
        if self._arriving is not None:
            raise ProtocolError(f"a result began before the last one of {self.what} was complete")
        self._arriving = Answer(head)
        self._deliver(self._arriving)

    def _deliver(self, answer: Answer) -> None:
        if answer.incoming.complete:
            self._arriving = None
            self._ready.append(answer)
            self._wake_up()

    def _ended(self, over: bool) -> None:
        if over:
            self._over = True
            self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
