"""Making calls over a link to a router, or to a replica in a test. Used by whoever has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

from runtime.errors import CallTimeout, ProtocolError
from runtime.link.connection import Link
from runtime.link.frames import CallHead, Command, Reply, State
from runtime.link.handlers import StreamHandler
from runtime.link.stream import Stream
from runtime.serve.answers import Answers
from runtime.serve.codec import Encoded, encode
from runtime.serve.context import Call
from runtime.serve.failures import RemoteError
from runtime.serve.unary import UnaryCall, late_error

END_OF_ITEMS: Final = "end"
NO_ARGUMENTS: Final = encode(((), {}))


def start(link: Link, call: Call) -> asyncio.Future[object]:
    """Make one call over ``link`` and return the future of its result; see ``CallTransport.start``."""
    return UnaryCall(link, _head(call), call.arguments, call.timeout_s).future


async def stream(link: Link, call: Call) -> AsyncGenerator[object, None]:
    """Make one streaming call over ``link`` and yield its items; see ``CallTransport.stream``."""
    timeout_s = call.timeout_s
    deadline = link.loop.time() + timeout_s if timeout_s is not None else None
    answers = Answers(link, _head(call, streaming=True), call.arguments)
    del call  # and with it its arguments, which are on their way
    try:
        while True:
            async with asyncio.timeout_at(deadline) if deadline is not None else nullcontext():
                item = await answers.next()
            if item.kind == END_OF_ITEMS:
                return
            yield item.value()
    except TimeoutError as exc:
        if isinstance(exc, CallTimeout) or isinstance(exc.__cause__, RemoteError):
            raise  # raised there
        raise late_error(answers.what, timeout_s) from None
    finally:
        answers.give_up()


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


def pack(deployment: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Encoded:
    """Return the arguments of a call, ready to travel. Raises what pickling raises."""
    try:
        return encode((tuple(args), dict(kwargs))) if args or kwargs else NO_ARGUMENTS
    except Exception as exc:
        if any(_is_request(value) for value in (*args, *kwargs.values())):
            raise TypeError(
                f"a request cannot be sent to {deployment}.{method}: it can only be read where it arrived. Send what "
                "is in it, as `await request.json()`"
            ) from exc
        exc.add_note(f"while pickling the arguments of {deployment}.{method}")
        raise


def _is_request(value: object) -> bool:
    return any(cls.__module__ == "starlette.requests" for cls in type(value).__mro__)


def _head(call: Call, *, streaming: bool = False) -> CallHead:
    request, timeout_s, arguments = call.request, call.timeout_s, call.arguments
    return CallHead(
        deployment=call.deployment,
        method=call.method,
        model=call.model,
        request_id=request.request_id if request is not None else "",
        route=request.route if request is not None else "",
        chain=list(request.chain) if request is not None else [],
        time_left_ms=max(1, int(timeout_s * 1000)) if timeout_s is not None else 0,
        streaming=streaming,
        payload_bytes=len(arguments.payload),
        buffers=arguments.lengths,
        payload=arguments.inline,
    )
