"""One piece of admitted work: a request or a handle's call, from its offer to its one terminal frame."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from runtime.core.events import Failure
from runtime.errors import MuxError
from runtime.link.frames import ABORT, ADMITTED, REFUSED, Abort, FailureHead, Refused, encode_head
from runtime.link.stream import Stream
from runtime.observe.events import REQUEST_FAILED
from runtime.replica.importer import user_place, user_traceback
from runtime.serve.context import RequestContext, request_context

if TYPE_CHECKING:
    from runtime.replica.host import Host

current_work: ContextVar[Work | None] = ContextVar("mux_work", default=None)
"""The work on whose behalf user code runs: what a model that it asks for is leased to."""

_CANCELLED: Final = {
    "client_gone": (499, "the client has gone"),
    "request_timeout": (408, "the request took longer than it may"),
    "draining": (503, "the replica is shutting down"),
    "died": (502, "the replica died"),
}


class _Ended:
    """The handler of a stream whose work is over: what still comes concerns nobody."""

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None: ...

    def body(self, stream: Stream, data: bytes, end: bool) -> None: ...

    def stopped(self, stream: Stream) -> None: ...

    def cancelled(self, stream: Stream) -> None: ...

    def lost(self, stream: Stream) -> None: ...


ENDED: Final = _Ended()


class Work:
    """The handler of one stream. Subclasses say how it runs, answers and fails.

    Its place and its leases go back exactly once, when its task is done: a cancelled task whose sync code still
    runs in a thread keeps them until the thread returns.
    """

    __slots__ = (
        "admitted_at", "cache", "cancelled_why", "context", "deadline", "ended", "host", "key", "leased", "load_ms",
        "method", "model", "offered_at", "router_cache", "status", "stream", "task", "wait_ms", "waited",
    )  # fmt: skip

    def __init__(self, host: Host, stream: Stream, context: RequestContext, now: float) -> None:
        self.host = host
        self.stream = stream
        self.key = stream.key
        self.context = context
        self.model = context.model_id or None
        self.method = "__CALL__"  # what runs, for the log
        self.router_cache = ""  # load or wait, if the router saw the request wait for its model
        self.offered_at = now
        self.deadline = context.deadline or 0.0  # 0: none
        self.admitted_at = 0.0
        self.task: asyncio.Task[None] | None = None
        self.cancelled_why = ""  # a key of _CANCELLED, once given up
        self.leased: object = None  # the model that its admission found resident, leased to it from then on
        self.cache = ""  # hit, load or wait, as the answer says
        self.load_ms = 0.0
        self.wait_ms = 0.0
        self.status = 0
        self.waited = False  # the brain did not answer the offer at once
        self.ended = False

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running" if self.task else "offered"
        return f"<{type(self).__name__} {self.context.request_id} {state} model={self.model}>"

    # --- to be said by subclasses -------------------------------------------------------------------------

    async def run(self) -> None:
        """Run user code and send its answer."""
        raise NotImplementedError

    async def fail(self, exc: BaseException) -> None:
        """Answer with what user code let out, if nothing final was sent."""
        raise NotImplementedError

    def give_up(self) -> None:
        """The opener has gone: tell whoever reads from it."""

    def more_expected(self) -> bool:
        """Whether the opener holds more back until it knows that this was admitted."""
        return False

    # --- from the brain -----------------------------------------------------------------------------------

    def admit(self, hit: bool | None, load_s: float) -> None:
        """Start user code in a task and a context of its own."""
        host = self.host
        self.admitted_at = now = host.now()
        if hit:
            self.note_model(hit, load_s)
        if self.waited:
            self.wait_ms = round((now - self.offered_at) * 1000, 1)
        if self.waited or self.more_expected():
            self.send(ADMITTED, encode_head(self.wait_ms))
        # the loop's create_task and a name made up for each would cost as much as the task itself
        self.task = task = asyncio.Task(self._run(), loop=host.loop, name="request", context=host.base.copy())
        task.add_done_callback(self._done)

    def refuse(self, why: str, failure: Failure | None) -> None:
        head = FailureHead(failure.code, failure.message[:4000], failure.retry_after_s) if failure else None
        self.ended = True
        self.send(REFUSED, encode_head(Refused(why, head)))
        self.let_go()

    def note_model(self, hit: bool | None, load_s: float) -> None:
        """Note how a model came to this work, for the answer's head and the log. A load outweighs a hit.

        An early load has happened before the request came here; that it waited for one, the router knows.
        """
        if hit is False:
            self.cache, self.load_ms = "load", max(self.load_ms, round(load_s * 1000, 1))
        elif hit and not self.cache:
            self.cache = self.router_cache or "hit"
            self.load_ms = round(load_s * 1000, 1) if self.router_cache else 0.0

    # --- the stream's other callbacks ---------------------------------------------------------------------

    def stopped(self, stream: Stream) -> None:
        """The next ``send`` of the body raises; user code that sends nothing more need not know."""

    def cancelled(self, stream: Stream) -> None:
        self.cancel("client_gone")

    def lost(self, stream: Stream) -> None:
        self.cancel("client_gone")

    def cancel(self, why: str) -> None:
        """Give the work up: its task is cancelled, and so are the calls it has open."""
        if self.ended or self.cancelled_why:
            return
        self.cancelled_why = why
        self.give_up()
        self.context.calls.cancel()
        if self.task is not None:
            self.task.cancel()
        else:
            self._end()

    # --- running ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        current_work.set(self)
        request_context.set(self.context)
        self.host.writer.started(self.context.request_id, self.context.route, self.context.model_id)
        try:
            await self.run()
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as exc:  # user code may raise anything, a KeyboardInterrupt too
            await self.fail(exc)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.host.unexpected(exc, f"ending {self!r}")
        if not self.ended:
            self._end()

    def _end(self) -> None:
        self.ended = True
        stream, host = self.stream, self.host
        if not (stream.local_ended or stream.closed):
            self._send_terminal()
        if self.admitted_at and (
            self.cancelled_why or not 0 < self.status < 499 or host.writer.shows(self.context.request_id)
        ):
            self._log_end()
        host.ended(self)
        self.let_go()

    def let_go(self) -> None:
        """Break the cycles that this work is part of: left to the collector they were a quarter of all time."""
        self.task = self.leased = None
        if not self.stream.closed:
            self.stream.handler = ENDED

    def _send_terminal(self) -> None:
        if self.cancelled_why:
            status, message = _CANCELLED[self.cancelled_why]
            self.abort(self.cancelled_why, message, status)
        elif self.host.dying:  # the router says so once the link is gone
            self.cancelled_why = "died"
        else:  # user code was cancelled by something of its own
            self.abort("user_code_failed", "user code cancelled itself", 500)

    def _log_end(self) -> None:
        status = _CANCELLED[self.cancelled_why][0] if self.cancelled_why else self.status
        self.host.writer.finished(
            self.context.request_id,
            self.context.route,
            self.context.model_id,
            method=self.method,
            ok=0 < status < 500 and status != 499,
            status=status,
            ms=(self.host.now() - self.offered_at) * 1000,
            cache=self.cache,
            load_ms=self.load_ms,
            wait_ms=self.wait_ms,
        )

    def abort(self, code: str, message: str, status: int) -> None:
        """Send the terminal ABORT frame."""
        self.status = status
        self.send(ABORT, encode_head(Abort(code, message[:4000], status)))

    def send(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Send a frame; nothing if the stream has gone meanwhile."""
        stream = self.stream
        if not (stream.local_ended or stream.closed):
            stream.send(kind, payload, flags)

    def log_failure(self, exc: BaseException) -> None:
        """Write the user's traceback to the log; an error of ours that user code passed on is one line."""
        message = f"{type(exc).__name__}: {exc.message}" if isinstance(exc, MuxError) else user_traceback(exc).rstrip()
        file, line = user_place(exc)
        self.host.writer.event(
            message,
            level="ERROR",
            event=REQUEST_FAILED,
            model=self.context.model_id,
            request_id=self.context.request_id,
            route=self.context.route,
            file=file,
            line=line,
        )
