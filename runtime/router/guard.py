"""uvicorn's HTTP protocol with the holes closed that attacks found in it.

uvicorn keeps the parsing, keep-alive and flow control. This subclass drops trailers, bounds a head's size and time,
a body's idle time and the time an idle connection is kept, tells whoever uses the connection that it was lost, and
closes it with a linger where the client is still sending.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from runtime.errors import BadRequest, HeadTooLarge, MuxError, RequestTimeout
from runtime.router.answers import CLOSE, AnswerHead, error_head
from runtime.router.front import CONNECTION, Guest
from runtime.router.seat import AsgiSeat, WatchedFlow
from runtime.router.settings import HEAD_LIMIT_BYTES, LEAVING_S, LINGER_BYTES, LINGER_S
from runtime.router.targets import TARGETS, read_target

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from runtime.router.admission import Admission
    from runtime.router.sweep import Sweep


class Cycle(Protocol):
    """A request being answered, as uvicorn keeps it."""

    keep_alive: bool
    more_body: bool


class GuardedProtocol(HttpToolsProtocol):
    """One client's connection."""

    def __init__(
        self,
        admission: Admission,
        sweep: Sweep,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.admission = admission
        self.clock = admission.desk.clock
        self.answering: Cycle | None = None  # the request in turn
        self.guest: Guest | None = None  # who answers it
        self.reading_since = 0.0  # since when somebody waits for more of a body; 0: nobody does
        self.path = ""  # of the head that came last, decoded
        self.raw_path = b""
        self.query = b""
        self.begun = 0  # heads that the parser has begun to read
        self.unwritten = False  # an answer waits to be written
        self._sweep = sweep
        self._in_head = False  # between a request's first byte and the end of its head
        self._head_since = 0.0
        self._head_bytes = 0  # of a head that did not come whole, so far
        self._chunk_bytes = 0  # of what is being parsed
        self._idle_since = self.clock()  # since when no request is in hand
        self._leaving = False  # the router stops: the next answer is the connection's last
        self._refusing = False  # nothing more is taken from the client
        self._linger_until = 0.0  # 0: not lingering
        self._linger_bytes = LINGER_BYTES

    # --- the connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = WatchedFlow(transport, self, self._sweep)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refusing = True
        self._sweep.paused.pop(self, None)
        super().connection_lost(exc)
        guest, self.guest = self.guest, None
        if guest is not None:
            guest.gone()

    def data_received(self, data: bytes) -> None:
        if self._refusing:
            self._discard(data)
            return
        was_in_head = self._in_head
        self._chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserCallbackError as exc:
            self._fault(exc)
        except httptools.HttpParserError:
            self.refuse(BadRequest("this is not HTTP/1.1 as it should be"))
        if self._in_head:
            self._head_bytes = self._head_bytes + len(data) if was_in_head else self._parsed_bytes()
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self.refuse(HeadTooLarge(f"the request's head is over {HEAD_LIMIT_BYTES} bytes"))

    def eof_received(self) -> None:
        self.catch_up()
        super().eof_received()

    def catch_up(self) -> None:
        """Write what waits to be written: something else is about to happen to the connection."""
        if self.unwritten:
            self.admission.desk.writes.flush()

    def shutdown(self) -> None:
        """The router stops. A client that asked just now is likely to be asking again: closing would cost it that."""
        self.catch_up()
        self._leaving = True
        if self.answering is not None or not (self._in_head or self.clock() - self._idle_since < LEAVING_S):
            super().shutdown()

    def _upgrade(self) -> None:
        if self._should_upgrade():
            self.catch_up()
            self.handle_websocket_upgrade()
        # any other upgrade was ignored: the request is answered as it is, and the connection closed after it

    def close_after_answer(self, body_open: bool) -> None:
        """Close the connection; where the client is still sending, give it a while to read its answer first."""
        self._refusing = True
        if not body_open or self.transport.is_closing():
            self.transport.close()
            return
        self._linger_until = self.clock() + LINGER_S
        self.flow.resume_reading()
        self.transport.write_eof()

    def _discard(self, data: bytes) -> None:
        self._linger_bytes -= len(data)
        if self._linger_bytes < 0:
            self.transport.abort()

    # --- refusing what never becomes a request ----------------------------------------------------------------

    def refuse(self, error: MuxError) -> None:
        """Answer with an error and close. What comes behind a request that is being answered only ends the turns."""
        if self._refusing:
            return
        self._refusing = True
        self.catch_up()
        current = self.answering
        if current is None:
            head, body = error_head(error, self.admission.desk.ids.new())
            head.own += CLOSE
            self.transport.write(self.head_bytes(head) + body)
            self.close_after_answer(body_open=True)
        elif current.more_body and self.guest is not None:
            self.guest.refuse(error)
        else:
            current.keep_alive = False
            self.pipeline.clear()
            self.flow.pause_reading()

    def head_bytes(self, head: AnswerHead) -> bytes:
        """Return a head as it goes over the wire, with its empty line."""
        defaults = self.admission.desk.default_lines(self.server_state.default_headers)
        return b"%b%b%b%b\r\n" % (STATUS_LINE[head.status], head.passed.lines, head.own, defaults)

    def _fault(self, exc: Exception) -> None:
        """A callback of ours failed: that is our fault, not the client's."""
        trace = "".join(traceback.format_exception(exc))
        self.admission.desk.log.event(f"a request's head could not be handled\n{trace}", level="ERROR")
        error = MuxError("the router failed on this request")
        if self.answering is not None and self.guest is not None:
            self.answering.keep_alive = False
            self.guest.refuse(error)
        else:
            self.refuse(error)

    # --- parser callbacks -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.begun += 1
        self._in_head = True
        self._head_since = self.clock()
        self._head_bytes = 0
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: appended, it could overwrite a header
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._refusing or not self._check_head():
            return
        self._begin()
        if self._leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refusing:
            super().on_message_complete()

    def _check_head(self) -> bool:
        may_be_large = self._head_bytes or self._chunk_bytes > HEAD_LIMIT_BYTES
        if may_be_large and self._parsed_bytes() > HEAD_LIMIT_BYTES:
            self.refuse(HeadTooLarge(f"the request's head is over {HEAD_LIMIT_BYTES} bytes"))
            return False
        target = TARGETS.get(self.url) or read_target(self.url)
        if target is None:
            self.refuse(BadRequest("the request's target is not a path"))
            return False
        self.raw_path, self.query, self.path = target
        return True

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _begin(self) -> None:
        """Start the request in ASGI, or queue it behind the one that is being answered."""
        url, headers = self.url, self.headers
        expects = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_message_begin()  # makes the scope, which a plain request does without
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()
        if self.parser.should_upgrade():
            if self._should_upgrade():
                return
            self.cycle.keep_alive = False
        seat = AsgiSeat(self, self.cycle)
        self.scope[CONNECTION] = seat  # type: ignore[typeddict-unknown-key]
        self.cycle.transport = cast("asyncio.Transport", seat)

    # --- turns ------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.answering = self.guest = None
        self.reading_since = 0.0
        if self._linger_until or self.transport.is_closing():
            return
        if self._refusing:
            self.transport.close()
            return
        self._idle_since = self.clock()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # --- the sweep --------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        self.catch_up()
        http = self.admission.http
        if self._linger_until:
            if now > self._linger_until:
                self.transport.abort()
        elif self._refusing:
            return
        elif self._in_head:
            if now - self._head_since > http.head_timeout_s:
                self.refuse(RequestTimeout(f"the request's head did not come within {http.head_timeout_s:g} s"))
        elif self.reading_since:
            if now - self.reading_since > http.body_idle_s:
                self.body_idle(RequestTimeout(f"nothing of the body came for {http.body_idle_s:g} s"))
        elif self.answering is None and now - self._idle_since > (LEAVING_S if self._leaving else http.keep_alive_s):
            self.transport.close()

    def body_idle(self, error: MuxError) -> None:
        """The client has stopped sending its body."""
        self.reading_since = 0.0
        if self.guest is not None:
            self.guest.refuse(error)

    def fileno(self) -> int:
        sock = self.transport.get_extra_info("socket")
        return sock.fileno() if sock is not None else -1

    def left(self) -> None:
        self.transport.abort()
