"""The caller's half of a CALL stream: arguments out, results in. Used by whoever has a link to a router."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Final

from runtime.errors import CallTimeout, LinkLost, MuxError, ProtocolError, ReplicaDied
from runtime.link.connection import Link
from runtime.link.frames import (
    ABORT,
    CALL,
    END,
    REFUSED,
    RESULT,
    Abort,
    CallHead,
    Command,
    Refused,
    Reply,
    ResultHead,
    State,
    decode_head,
    encode_head,
)  # fmt: skip
from runtime.link.handlers import StreamHandler
from runtime.link.stream import Stream, StreamEnded, StreamStopped
from runtime.serve.codec import Encoded, Incoming, encode
from runtime.serve.context import RequestContext
from runtime.serve.failures import RemoteError, failure_error, from_wire, refusal_error

END_OF_ITEMS: Final = "end"


async def call(
    link: Link,
    deployment: str,
    method: str,
    model: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    request: RequestContext | None,
    timeout_s: float | None,
) -> object:
    """Make one call over ``link`` and return its result; see ``CallTransport.call``."""
    head, arguments = _head(deployment, method, model, args, kwargs, request, timeout_s, streaming=False)
    answers = Answers(f"{deployment}.{method}")
    try:
        async with asyncio.timeout(timeout_s):
            await _open(link, head, arguments, answers)
            return (await answers.next()).value()
    except TimeoutError as exc:
        raise _late(exc, deployment, method, timeout_s) from _remote_cause(exc)
    finally:
        answers.give_up()


async def stream(
    link: Link,
    deployment: str,
    method: str,
    model: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    request: RequestContext | None,
    timeout_s: float | None,
) -> AsyncGenerator[object, None]:
    """Make one streaming call over ``link`` and yield its items; see ``CallTransport.stream``."""
    head, arguments = _head(deployment, method, model, args, kwargs, request, timeout_s, streaming=True)
    answers = Answers(f"{deployment}.{method}")
    deadline = asyncio.get_running_loop().time() + timeout_s if timeout_s is not None else None
    try:
        async with asyncio.timeout_at(deadline):
            await _open(link, head, arguments, answers)
        while True:
            async with asyncio.timeout_at(deadline):
                item = await answers.next()
            if item.kind == END_OF_ITEMS:
                return
            yield item.value()
    except TimeoutError as exc:
        raise _late(exc, deployment, method, timeout_s) from _remote_cause(exc)
    finally:
        answers.give_up()


class Answer:
    """One RESULT, complete or still arriving."""

    __slots__ = ("incoming", "kind", "owed")

    def __init__(self, kind: str, incoming: Incoming) -> None:
        self.kind = kind
        self.incoming = incoming
        self.owed = 0  # body bytes whose credit is held back until the answer is taken

    def value(self) -> object:
        """Return the value, or raise the exception that it stands for."""
        value = self.incoming.value()
        if self.kind == "error":
            raise from_wire(*value)
        return value


class Answers:
    """A CALL stream's handler: the results in order. Credit for items is held back while others wait."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stream: Stream | None = None
        self._arriving: Answer | None = None
        self._ready: deque[Answer] = deque()
        self._failure: MuxError | None = None
        self._over = False  # a terminal frame has come, or the link has gone
        self._wake: asyncio.Future[None] | None = None

    def opened(self, stream: Stream) -> None:
        self._stream = stream

    async def next(self) -> Answer:
        """Wait for the next result. Raises the error that ended the stream."""
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise ProtocolError(f"the call of {self._what} ended without a result")
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        answer = self._ready.popleft()
        if answer.owed and self._stream is not None:
            self._stream.consumed(answer.owed)
        return answer

    def give_up(self) -> None:
        """Cancel the call unless it has ended."""
        if self._stream is not None and not self._over:
            self._over = True
            self._stream.cancel()

    # --- the link's callbacks -----------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == RESULT:
            self._result(decode_head(ResultHead, payload))
        elif kind == REFUSED:
            self._failure = refusal_error(decode_head(Refused, payload))
        elif kind == ABORT:
            self._failure = failure_error(decode_head(Abort, payload), "aborted")
        self._ended(bool(flags & END) or kind in (REFUSED, ABORT))

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        answer = self._arriving
        if answer is None:
            if data:
                raise ProtocolError(f"body bytes without a result in the answer of {self._what}")
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
        if self._failure is None and not self._over:
            self._failure = ReplicaDied(f"the link was lost during the call of {self._what}; it may have run")
        self._ended(True)

    def _result(self, head: ResultHead) -> None:
        if self._arriving is not None:
            raise ProtocolError(f"a result began before the last one of {self._what} was complete")
        self._arriving = Answer(head.kind, Incoming(head.payload, head.payload_bytes, head.buffers))
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


class OnlyCalls:
    """A link's handler on a side that opens streams and serves none."""

    def connected(self, link: Link) -> None: ...

    def lost(self, link: Link, why: str) -> None: ...

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        raise ProtocolError("nothing is served on this side")

    def state(self, link: Link, state: State) -> None: ...

    def command(self, link: Link, command: Command) -> None: ...

    def reply(self, link: Link, reply: Reply) -> None: ...

    def goaway(self, link: Link, reason: str) -> None: ...


def _head(
    deployment: str,
    method: str,
    model: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    request: RequestContext | None,
    timeout_s: float | None,
    *,
    streaming: bool,
) -> tuple[bytes, Encoded]:
    try:
        arguments = encode((args, dict(kwargs)))
    except Exception as exc:
        exc.add_note(f"while pickling the arguments of {deployment}.{method}")
        raise
    head = CallHead(
        deployment=deployment,
        method=method,
        model=model,
        request_id=request.request_id if request is not None else "",
        route=request.route if request is not None else "",
        chain=list(request.chain) if request is not None else [],
        time_left_ms=max(1, int(timeout_s * 1000)) if timeout_s is not None else 0,
        streaming=streaming,
        payload_bytes=len(arguments.payload),
        buffers=arguments.lengths,
        payload=arguments.inline,
    )
    return encode_head(head), arguments


async def _open(link: Link, head: bytes, arguments: Encoded, answers: Answers) -> None:
    """Open the stream and send what did not fit into the head. A peer that wants no more has answered, or will."""
    parts = list(arguments.body())
    opened = link.open(CALL, head, answers, 0 if parts else END)
    answers.opened(opened)
    with suppress(StreamStopped, StreamEnded, LinkLost):
        for number, part in enumerate(parts, 1):
            await opened.send_body(part, end=number == len(parts))


def _remote_cause(exc: BaseException) -> BaseException | None:
    return exc.__cause__ if isinstance(exc.__cause__, RemoteError) else None


def _late(exc: TimeoutError, deployment: str, method: str, timeout_s: float | None) -> TimeoutError:
    """Return ``exc`` if user code raised it there, else the error that says that this call took too long."""
    if isinstance(exc, CallTimeout) or isinstance(exc.__cause__, RemoteError):
        return exc
    return CallTimeout(f"{deployment}.{method} did not answer within {timeout_s:g} s")
