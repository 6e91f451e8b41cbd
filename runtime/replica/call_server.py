"""A deployment handle's call as this replica answers it: CALL in, RESULT out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import MuxError, ProtocolError
from runtime.link.frames import END, REFUSED, RESULT, CallHead, MemoryHead, Refused, ResultHead, encode_head
from runtime.link.memory import UNREACHABLE, borrow
from runtime.link.stream import Stream, StreamEnded, StreamStopped
from runtime.replica.work import Work
from runtime.serve.codec import Encoded, Incoming, encode
from runtime.serve.context import RequestContext
from runtime.serve.failures import encode_error

if TYPE_CHECKING:
    from runtime.replica.host import Host

GENERATORS: Final = (GeneratorType, AsyncGeneratorType)


class CallWork(Work):
    """A CALL stream. User code starts once all arguments have arrived."""

    __slots__ = ("_arguments", "_arrived", "_gone", "call")

    def __init__(self, host: Host, stream: Stream, head: CallHead, ended: bool) -> None:
        chain = (*head.chain, host.deployment)
        now = host.now()
        deadline = now + head.time_left_ms / 1000 if head.time_left_ms > 0 else None
        context = RequestContext(head.request_id, head.route, head.model, host.application, chain, deadline)
        super().__init__(host, stream, context, now)
        self.call = head
        self.method = head.method.upper() if head.method == "__call__" else head.method
        self._arguments = Incoming(head.payload, head.payload_bytes, head.buffers, elsewhere=head.memory is not None)
        self._arrived = host.loop.create_future() if not self._arguments.complete else None
        self._gone = False

    # --- the stream ---------------------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        raise ProtocolError("a call's opener sends its arguments and nothing else")

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self._arguments.feed(data)
        stream.consumed(len(data))
        if self._arrived is not None and not self._arrived.done() and (self._arguments.complete or end):
            self._arrived.set_result(None)

    def more_expected(self) -> bool:
        return not self._arguments.complete

    def give_up(self) -> None:
        self._gone = True

    # --- running ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        if self._arrived is not None:
            await self._arrived
        if self.call.memory is not None and not self._borrow(self.call.memory):
            return
        args, kwargs = self._given()
        value = await self.host.servable.call(self, self.call.method, args, kwargs)
        del args, kwargs  # they may lie on the caller's memory, which it can use again when they are gone
        if self.call.streaming:
            await self._stream(value)
        else:
            await self._send("value", self._encoded(_single(value, self.call.method)), last=True)
        self.status = 200

    def _given(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            given: tuple[tuple[Any, ...], dict[str, Any]] = self._arguments.value()
        except AttributeError as exc:
            if "__main__" not in str(exc):
                raise
            raise TypeError(
                f"the arguments of {self.host.deployment}.{self.call.method} hold something of the caller's __main__, "
                "which a replica cannot import: define it in a module of its own"
            ) from exc
        return given

    def _borrow(self, memory: MemoryHead) -> bool:
        """Lay the arguments on the caller's memory; where that cannot be reached, have them sent as body."""
        try:
            self._arguments.take(borrow(memory, self._arguments.lengths))
        except OSError:
            self.status = 503
            self.send(REFUSED, encode_head(Refused(UNREACHABLE)))
            return False
        return True

    async def _stream(self, value: Any) -> None:
        if isinstance(value, Iterator):
            value = self.host.executor.iterate(value)
        if not isinstance(value, AsyncIterator):
            raise TypeError(
                f"{self.call.method} was called with stream=True, but it returned a {type(value).__name__}, "
                "not a generator"
            )
        try:
            async for item in value:
                await self._send("item", self._encoded(item), last=False)
            await self._send("end", Encoded(b"", []), last=True)
        finally:
            close = getattr(value, "aclose", None)
            if close is not None:
                await close()

    def _encoded(self, value: Any) -> Encoded:
        try:
            return encode(value)
        except Exception as exc:
            exc.add_note(f"while pickling a result of {self.host.deployment}.{self.call.method}")
            raise

    async def _send(self, kind: str, value: Encoded, *, last: bool) -> None:
        """Send one RESULT and, under credit, what is not in its frame.

        A lone value travels in the frame if it fits. Items never do: only bodies cost credit, and without credit
        a slow reader would have all of them in its memory. What waits for credit is a copy: user code may fill its
        array for the next request by then.
        """
        value = value.owned()
        inline = value.inline if last else b""
        parts = value.body() if last else [memoryview(value.payload), *value.buffers]
        head = ResultHead(kind, len(value.payload), value.lengths, inline)
        self.send(RESULT, encode_head(head), END if last and not parts else 0)
        for number, part in enumerate(parts, 1):
            await self.stream.send_body(part, end=last and number == len(parts))

    async def fail(self, exc: BaseException) -> None:
        """Answer with the exception itself, if the caller is still there."""
        self.status = exc.status if isinstance(exc, MuxError) else 500
        if isinstance(exc, StreamEnded | StreamStopped) or self._gone:
            self.cancelled_why = self.cancelled_why or "client_gone"
            return
        if self.status >= 500:
            self.log_failure(exc)
        if self.stream.local_ended or self.stream.closed:
            return
        await self._send("error", encode_error(exc, self.host.name), last=True)


def _single(value: Any, method: str) -> Any:
    if isinstance(value, GENERATORS):
        raise TypeError(f"{method} is a generator: call it with handle.options(stream=True)")
    return value
