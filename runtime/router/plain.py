"""The fast shell of the front: small requests straight from the parser to the link, and answers straight back.

No ASGI, and no task, future or timer per request. What does not fit (a body over one frame, chunked or behind
``Expect: 100-continue``, an upgrade, ``/-/``) goes the ASGI way on the same connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from runtime.errors import MuxError
from runtime.link.frames import BODY_CHUNK, RequestHead
from runtime.router.answers import CLOSE, AnswerHead
from runtime.router.exchange import Exchange
from runtime.router.guard import GuardedProtocol
from runtime.router.known_heads import ReadHead

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from runtime.router.request_headers import RequestHeaders


class _NoEvent:
    def set(self) -> None:
        """uvicorn wakes its ASGI cycle with it; nobody sleeps in a plain one."""


PATIENCE: Final = 64  # heads in a row that had not come before: then none of this connection is looked up any more
_NO_EVENT: Final = _NoEvent()
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_METHODS: Final = {b"GET": "GET", b"POST": "POST", b"PUT": "PUT", b"HEAD": "HEAD"}


class PlainProtocol(GuardedProtocol):
    """A connection whose small requests take the short way."""

    _unknown = 0  # heads in a row that had not come before

    def data_received(self, data: bytes) -> None:
        before, heads = self.cycle, self.admission.heads
        gone_by = before is None or _is_over(before)
        if self._unknown > PATIENCE or self._in_head or self._refusing or self._leaving or not gone_by:
            super().data_received(data)
            return
        known = heads.find(data)
        if known is not None:
            self._unknown = 0
            try:
                self._begin_known(known, data[known.size :])
            except Exception as exc:  # as the parser hands on what its callbacks raise
                self._fault(exc)
            return
        self._unknown += 1
        begun = self.begun
        super().data_received(data)
        now: object = self.cycle
        if isinstance(now, PlainCycle) and self.begun == begun + 1 and not (self._in_head or now.more_body):
            heads.learn(data, now.read, now.body)

    def _begin_known(self, read: ReadHead, body: bytes) -> None:
        cycle = PlainCycle(self, read)
        cycle.body, cycle.more_body = body, False
        self.cycle = cast("RequestResponseCycle", cycle)
        self._take_turn(cycle)

    def _begin(self) -> None:
        if self.raw_path.startswith(b"/-/") or self.parser.should_upgrade():
            super()._begin()
            return
        found = self.admission.read(self.headers)
        if found.chunked or found.content_length > BODY_CHUNK or found.expects_continue:
            super()._begin()
            return
        existing = self.cycle
        cycle = PlainCycle(self, self._read_head(found))
        self.cycle = cast("RequestResponseCycle", cycle)
        if existing is None or existing.response_complete:
            self._take_turn(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle | PlainCycle, app: ASGI3Application) -> None:
        if isinstance(cycle, PlainCycle):
            # not at once: answers that are ready at once would nest as deep as the client pipelines
            self.loop.call_soon(self._take_turn, cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _read_head(self, found: RequestHeaders) -> ReadHead:
        parser = self.parser
        raw_method, version = parser.get_method(), parser.get_http_version()
        method = _METHODS.get(raw_method) or raw_method.decode("ascii")
        headers = self.headers
        if not found.all_travel:
            headers, found.all_travel = found.forwarded(headers), True
        keep_alive = version != "1.0" and parser.should_keep_alive()
        return ReadHead(method, self.path, self.raw_path, self.query, version, headers, found, keep_alive)

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if not isinstance(cycle, PlainCycle):
            super().on_body(body)
        elif not self._refusing:
            if cycle.body:
                cycle.body += body
            else:
                cycle.body = bytearray(body)
            if self.reading_since:
                self.reading_since = self.clock()

    def on_message_complete(self) -> None:
        cycle: object = self.cycle
        if not isinstance(cycle, PlainCycle):
            super().on_message_complete()
        elif cycle.more_body and not self._refusing:
            cycle.more_body = False
            if self.answering is cycle:
                self.reading_since = 0.0
                cycle.submit()

    def resume_writing(self) -> None:
        super().resume_writing()
        if isinstance(self.answering, PlainCycle):
            self.answering.room()

    def _take_turn(self, cycle: PlainCycle) -> None:
        if self.transport.is_closing():
            return
        self.answering = self.guest = cycle
        cycle.admit()
        if cycle.response_complete:
            return
        if cycle.more_body:
            self.reading_since = self.clock()
        else:
            cycle.submit()


def _is_over(cycle: RequestResponseCycle | PlainCycle) -> bool:
    """Return whether the request has come whole and been answered: what comes now is the next."""
    return cycle.response_complete and not cycle.more_body


class PlainCycle:
    """One small request: ``Client`` of its exchange, ``Guest`` of the connection, and in uvicorn's eyes a cycle."""

    __slots__ = (
        "_chunked", "_http10", "_owed", "_protocol", "body", "disconnected", "exchange", "head", "keep_alive",
        "message_event", "more_body", "read", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: PlainProtocol, read: ReadHead) -> None:
        self._protocol = protocol
        self._http10 = read.http_version == "1.0"
        self._chunked = False
        self._owed = 0  # body bytes whose credit goes back once the client's side has room
        self.read = read
        self.body: bytes | bytearray = b""
        self.keep_alive = read.keep_alive
        self.more_body = read.found.has_body
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NO_EVENT
        desk = protocol.admission.desk
        self.exchange = Exchange(desk, self, read.method, read.path, "", desk.clock())
        self.exchange.peer = protocol.client
        self.head = RequestHead(
            read.method, read.path, read.raw_path, read.query, protocol.scheme or "http", read.http_version,
            protocol.client, protocol.server, read.headers, "", "", "", 0,
        )  # fmt: skip

    def admit(self) -> None:
        try:
            self._protocol.admission.admit(self.exchange, self.head, self.read.found)
        except MuxError as error:
            self.exchange.refuse(error)

    def submit(self) -> None:
        """The body is whole: hand the request to its pool."""
        if self.exchange.client is None:
            return  # answered while its body came
        self.head.body = body = bytes(self.body)
        admission = self._protocol.admission
        if admission.models.in_body and body:
            try:
                admission.name_from_body(self.exchange, body)
            except MuxError as error:
                self.exchange.refuse(error)
                return
        admission.submit(self.exchange)

    # --- Client ---------------------------------------------------------------------------------------------

    def started(self, head: AnswerHead, body: bytes, end: bool) -> None:
        if end and self.more_body:
            self.keep_alive = False
        if head.length < 0 and not head.bodiless:
            if self._http10:
                self.keep_alive = False  # the end of the connection is the end of the body
            else:
                self._chunked = True
                head.own += _CHUNKED
        if not self.keep_alive:
            head.own += CLOSE
        data = self._protocol.head_bytes(head)
        if body:
            data += b"".join(self._framed(body, end)) if self._chunked else body
        if end and self.keep_alive:
            self._protocol.admission.desk.writes.put(self._protocol, data)
        else:
            self._protocol.catch_up()
            self._protocol.transport.write(data)
        if end:
            self._complete()

    def data(self, body: bytes, end: bool) -> None:
        self._protocol.transport.writelines(self._framed(body, end))
        if end:
            self._complete()
        elif self._protocol.flow.write_paused:
            self._owed += len(body)
        else:
            self.exchange.taken(len(body))

    def broken(self) -> None:
        self.response_complete = True
        transport = self._protocol.transport
        if self._http10:
            transport.abort()  # an orderly end would make the partial body look whole
        else:
            transport.close()

    # --- Guest ----------------------------------------------------------------------------------------------

    def gone(self) -> None:
        self.response_complete = True
        self.exchange.client_gone()

    def refuse(self, error: MuxError) -> None:
        self.exchange.refuse(error)

    # --- inside ---------------------------------------------------------------------------------------------

    def room(self) -> None:
        """The client has taken what was written."""
        owed, self._owed = self._owed, 0
        self.exchange.taken(owed)

    def _framed(self, body: bytes, end: bool) -> list[bytes]:
        if not self._chunked:
            return [body]
        parts = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
        if end:
            parts.append(b"0\r\n\r\n")
        return parts

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._protocol.close_after_answer(self.more_body)
        self._protocol.on_response_complete()
