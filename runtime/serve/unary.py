"""A call with one result, as its caller waits for it."""

from __future__ import annotations

import asyncio

from runtime.errors import CallTimeout, ProtocolError, ReplicaDied
from runtime.link.connection import Link
from runtime.link.frames import ABORT, END, REFUSED, RESULT, Abort, CallHead, Refused, ResultHead, decode_head
from runtime.link.stream import Stream
from runtime.serve.codec import Encoded, Incoming
from runtime.serve.failures import failure_error, from_wire, refusal_error
from runtime.serve.outgoing import Outgoing


class Answer:
    """One RESULT, complete or still arriving."""

    __slots__ = ("incoming", "kind", "owed")

    def __init__(self, head: ResultHead) -> None:
        self.kind = head.kind
        self.incoming = Incoming(head.payload, head.payload_bytes, head.buffers)
        self.owed = 0  # body bytes whose credit is held back until the answer is taken

    def value(self) -> object:
        """Return the value, or raise the exception that it stands for."""
        value = self.incoming.value()
        if self.kind == "error":
            raise from_wire(*value)
        return value


class UnaryCall:
    """The handler of a call with one result, and its future. Cancelling the future cancels the call."""

    __slots__ = ("_answer", "_head", "_out", "_over", "_timeout_s", "_timer", "future")

    def __init__(self, link: Link, head: CallHead, arguments: Encoded, timeout_s: float | None) -> None:
        self._head = head
        self._answer: Answer | None = None
        self._over = False  # a terminal frame has come, or the link has gone
        self._out: Outgoing | None = Outgoing(link, head, arguments, self)
        self.future: asyncio.Future[object] = link.loop.create_future()
        self.future.add_done_callback(self._done)
        self._timeout_s = timeout_s
        self._timer = link.loop.call_later(timeout_s, self._expire) if timeout_s is not None else None

    @property
    def what(self) -> str:
        """What was called, for an error's sentence."""
        return f"{self._head.deployment}.{self._head.method}"

    # --- the link's callbacks -----------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == RESULT:
            if self._answer is not None:
                raise ProtocolError(f"a second result of {self.what}")
            self._answer = Answer(decode_head(ResultHead, payload))
            if flags & END:
                self._complete()
        elif kind == REFUSED:
            refused = decode_head(Refused, payload)
            if self._out is None or self.future.done() or not self._out.again(refused.why):
                self.fail(refusal_error(refused))
        elif kind == ABORT:
            self.fail(failure_error(decode_head(Abort, payload), "aborted"))

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        if self._answer is not None:
            self._answer.incoming.feed(data)
        elif data:
            raise ProtocolError(f"body bytes without a result in the answer of {self.what}")
        stream.consumed(len(data))
        if end:
            self._complete()

    def stopped(self, stream: Stream) -> None:
        """Whoever sends the arguments learns it from ``send_body``."""

    def cancelled(self, stream: Stream) -> None:
        """Only openers cancel, and this is the opener."""

    def lost(self, stream: Stream) -> None:
        self.fail(lost_error(self.what))

    # --- the end ------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        self._over = True
        if not self.future.done():
            self.future.set_exception(error)

    def _complete(self) -> None:
        self._over = True
        answer, future = self._answer, self.future
        if future.done():
            return
        if answer is None:
            future.set_exception(ProtocolError(f"the call of {self.what} ended without a result"))
            return
        future.remove_done_callback(self._done)  # done here: as a callback it would hold up whoever waits
        try:
            value = answer.value()
        except StopIteration as exc:  # no future can hold one
            future.set_exception(_not_stopping(exc))
        except BaseException as exc:
            future.set_exception(exc)
        else:
            future.set_result(value)
        self._done(future)

    def _expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(late_error(self.what, self._timeout_s))

    def _done(self, future: asyncio.Future[object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        out, self._out = self._out, None
        if out is not None:
            if self._over:
                out.end()
            else:
                out.cancel()


def lost_error(what: str) -> ReplicaDied:
    return ReplicaDied(f"the link was lost during the call of {what}; it may have run")


def late_error(what: str, timeout_s: float | None) -> CallTimeout:
    return CallTimeout(f"{what} did not answer within {timeout_s:g} s")


def _not_stopping(exc: StopIteration) -> RuntimeError:
    """As a coroutine that raises ``StopIteration`` does."""
    error = RuntimeError(f"the call raised {exc!r}")
    error.__cause__ = exc
    return error
