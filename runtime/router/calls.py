"""Deployment handles' calls: scheduled like any request, relayed frame by frame, never unpickled here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.errors import CallCancelled, CallCycle, MuxError, ProtocolError, ReplicaDied, RequestTimeout
from runtime.link.frames import (
    ABORT,
    ADMITTED,
    CALL,
    END,
    REFUSED,
    RESULT,
    Abort,
    CallHead,
    FailureHead,
    Refused,
    decode_head,
    encode_head,
)
from runtime.router.exchange import REQUEUED
from runtime.router.pipe import Pipe
from runtime.router.upload import Upload

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.handlers import StreamHandler
    from runtime.link.stream import Stream
    from runtime.router.desk import Desk
    from runtime.router.pool import Pool


class Arguments:
    """What follows a call's head as body, as it arrives from the caller."""

    def __init__(self, caller: Stream) -> None:
        self._caller = caller
        self._parts: deque[tuple[bytes, bool]] = deque()
        self._changed = asyncio.Event()

    def feed(self, data: bytes, end: bool) -> None:
        self._parts.append((data, end))
        self._changed.set()

    async def part(self) -> tuple[bytes, bool]:
        while not self._parts:
            self._changed.clear()
            await self._changed.wait()
        data, end = self._parts.popleft()
        self._caller.consumed(len(data))
        return data, end


class Call:
    """``Job`` for the pool, ``StreamHandler`` of the target's stream; ``CallerSide`` handles the caller's."""

    __slots__ = (
        "_back", "_begun", "_caller", "_data", "_desk", "_head", "_over", "_pump", "arguments", "cache", "deadline",
        "model", "number", "pool", "replica", "request_id", "route_prefix", "stream", "upload",
    )  # fmt: skip

    def __init__(self, desk: Desk, caller: Stream, head: CallHead, data: bytes, whole: bool) -> None:
        self.number = 0
        self.model = head.model
        self.request_id = head.request_id
        self.route_prefix = head.route
        self.replica = ""
        self.cache = ""
        self.stream: Stream | None = None
        self.pool: Pool | None = None
        self.deadline = desk.clock() + head.time_left_ms / 1000 if head.time_left_ms else 0.0
        self.arguments = None if whole else Arguments(caller)
        self.upload = Upload(self.arguments.part) if self.arguments is not None else None
        self._desk = desk
        self._head = head
        self._data = data  # the head as it came, and goes on unless what is left of its time has changed
        self._back: Pipe | None = None  # made for an answer of several frames
        self._caller = caller
        self._begun = False  # something of the answer has gone to the caller
        self._over = False  # the caller has its terminal frame, or is lost
        self._pump: asyncio.Task[None] | None = None
        if self.deadline:
            desk.timed[self] = None

    # --- Job ------------------------------------------------------------------------------------------------

    @property
    def repeatable(self) -> bool:
        """Nobody knows what a call does: one that may have begun is not repeated."""
        return False

    def dispatch(self, link: Link, replica: str, waited_s: float) -> None:
        data = self._data
        if self.deadline:
            head = self._head
            head.time_left_ms = max(1, int((self.deadline - self._desk.clock()) * 1000))
            data = encode_head(head)
        self.replica = replica
        upload = self.upload
        self.stream = stream = link.open(CALL, data, self, END if upload is None else 0)
        if upload is not None:
            upload.attach(stream)
            if self._pump is None:
                self._pump = asyncio.get_running_loop().create_task(upload.run(), name=f"call {self.request_id}")

    def fail(self, error: MuxError) -> None:
        self.pool = None
        self._answer(error)
        if self.stream is not None:
            self.stream.cancel()

    # --- the caller -----------------------------------------------------------------------------------------

    def refuse(self, error: MuxError) -> None:
        """Answer with an error and give up what was asked of the pool."""
        self._answer(error)
        pool, stream = self.pool, self.stream
        if pool is not None:
            if stream is None:
                self.pool = None
            pool.cancelled(self)
            if stream is not None:
                stream.cancel()

    def expire(self) -> None:
        self.refuse(RequestTimeout("the call took longer than it may"))

    # --- StreamHandler of the target --------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == REFUSED:
            self._refused(decode_head(Refused, payload))
        elif kind == RESULT or kind == ABORT:
            self._begun = True
            if not self._over:
                self._relay(kind, bytes(payload), flags)
            if flags & END or kind == ABORT:
                self._finished()
        elif kind == ADMITTED and self.pool is not None:
            self.pool.began(self)

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        if self._over:
            stream.consumed(len(data))
        else:
            self._piped().body(stream, data, end)
        if end:
            self._finished()

    def stopped(self, stream: Stream) -> None:
        if self.upload is not None:
            self.upload.stopped()

    def cancelled(self, stream: Stream) -> None:
        raise AssertionError("only the opener of a stream cancels it")

    def lost(self, stream: Stream) -> None:
        if self.upload is not None:
            self.upload.detach()
        self.stream = None

    # --- inside ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The caller needs nothing more."""
        self._over = True
        if self.deadline:
            self._desk.timed.pop(self, None)
        if self._pump is not None:
            self._pump.cancel()

    def _answer(self, error: MuxError) -> None:
        """Send the caller its terminal frame."""
        if self._over:
            return
        self.close()
        if self._back is not None:
            self._back.close()
        if self._caller.local_ended or self._caller.closed:
            return
        if self._begun:
            self._caller.send(ABORT, encode_head(Abort(error.code, error.message[:4000], error.status)))
        else:
            failure = FailureHead(error.code, error.message[:4000], error.retry_after_s)
            self._caller.send(REFUSED, encode_head(Refused("failed", failure)))

    def _finished(self) -> None:
        self.stream = None
        self.close()
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.finished(self)

    def _refused(self, refused: Refused) -> None:
        self.stream = None
        if self.upload is not None:
            self.upload.detach()
        if refused.why in REQUEUED and not self._over and self.pool is not None:
            self.replica = ""
            self.pool.refused(self, refused)
            return
        if not self._over:
            self.close()
            self._relay(REFUSED, encode_head(refused), END)
        self._finished()

    def _relay(self, kind: int, payload: bytes, flags: int) -> None:
        """Send a head to the caller, behind what is on its way to it."""
        if self._back is not None:
            self._back.head(kind, payload, flags)
        elif not flags & END:
            self._piped().head(kind, payload, flags)
        elif not (self._caller.local_ended or self._caller.closed):
            self._caller.send(kind, payload, flags)

    def _piped(self) -> Pipe:
        if self._back is None:
            self._back = Pipe(self._caller)
        return self._back


class CallerSide:
    """``StreamHandler`` of the stream that a caller opened."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        raise ProtocolError("a caller sends nothing but its call and its body")

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        if self._call.arguments is not None:
            self._call.arguments.feed(data, end)

    def stopped(self, stream: Stream) -> None:
        """It wants no more of the answer; what comes is dropped by its ended stream."""

    def cancelled(self, stream: Stream) -> None:
        self._call.refuse(CallCancelled("the call was cancelled"))

    def lost(self, stream: Stream) -> None:
        self._call.refuse(ReplicaDied("the caller is gone"))


class Calls:
    """Takes calls from replicas and from outside. ``pool_of`` raises ``NoSuchThing``, ``check`` ``BadModelId``."""

    def __init__(self, desk: Desk, pool_of: Callable[[str], Pool], check: Callable[[bytes], str]) -> None:
        self._desk = desk
        self._pool_of = pool_of
        self._check = check

    def opened(self, caller: Any, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        """Take a stream that a replica or a script has opened. It may have its answer when this returns."""
        if kind != CALL:
            raise ProtocolError("only calls are taken here")
        head = decode_head(CallHead, payload)
        call = Call(self._desk, stream, head, bytes(payload), bool(flags & END))
        try:
            pool = self._pool_of(head.deployment)
            if head.deployment in head.chain:
                raise CallCycle(f"{' → '.join([*head.chain, head.deployment])}: a deployment cannot wait for itself")
            if head.model:
                self._check(head.model.encode())
        except MuxError as error:
            call.refuse(error)
        else:
            pool.tally.calls += 1
            call.pool = pool
            pool.submit(call)
        return CallerSide(call)
