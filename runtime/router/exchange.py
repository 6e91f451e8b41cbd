"""One HTTP request on its way through the router, from its head to the last byte of its answer.

The client's side is a ``Client`` (one of two shells), the replica's side a stream of a link. The exchange outlives
its client: a place in the replica is free again only with the stream's terminal frame.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from runtime.errors import ClientGone, MuxError, ReplicaDied, RequestTimeout, UserCodeError
from runtime.link.frames import (
    ABORT,
    ADMITTED,
    END,
    LIMITS,
    REFUSED,
    REQUEST,
    RESPONSE,
    Abort,
    Refused,
    RequestHead,
    ResponseHead,
    decode_head,
    encode_head,
)
from runtime.router.answers import AnswerHead, error_head, error_of, relayed_error, safe_head

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.stream import Stream
    from runtime.router.desk import Desk
    from runtime.router.pool import Pool
    from runtime.router.routes import Route
    from runtime.router.upload import Upload

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
REQUEUED: Final = frozenset({"absent", "full", "draining", "failed"})


class Client(Protocol):
    """The client's connection, as one exchange sees it. Nothing is called after the end, ``broken`` or its loss."""

    def started(self, head: AnswerHead, body: bytes, end: bool) -> None:
        """Send the head and the first of the body (empty where the head is bodiless)."""

    def data(self, body: bytes, end: bool) -> None:
        """Send more of the body, and call ``Exchange.taken`` once it needs no more room here."""

    def broken(self) -> None:
        """Close the connection: the rest of a partial answer will not come."""


class Exchange:
    """Implements ``Job`` for the pool and ``StreamHandler`` for the link."""

    __slots__ = (
        "arrived", "bodiless", "cache", "client", "deadline", "desk", "left", "load_ms", "method", "model", "number",
        "path", "peer", "pool", "queue_ms", "replica", "request", "request_id", "route", "started_answer", "status",
        "stream", "upload",
    )  # fmt: skip

    open_ended: ClassVar[bool] = False  # more than a body follows the head: a websocket's messages

    def __init__(self, desk: Desk, client: Client, method: str, path: str, request_id: str, arrived: float) -> None:
        self.desk = desk
        self.client: Client | None = client  # None once answered, broken or gone
        self.method = method
        self.path = path
        self.request_id = request_id
        self.arrived = arrived
        self.number = 0
        self.model = ""
        self.peer: tuple[str, int] | None = None
        self.route: Route | None = None
        self.pool: Pool | None = None  # set while the pool knows of it
        self.request: RequestHead | None = None  # the head as it travels
        self.deadline = 0.0  # 0: none
        self.stream: Stream | None = None
        self.upload: Upload | None = None  # the rest of a body that was not whole at arrival
        self.replica = ""
        self.cache = ""
        self.queue_ms = 0.0
        self.load_ms = 0.0
        self.started_answer = False
        self.bodiless = False
        self.left: int | None = None  # body bytes that the answer's content-length still promises
        self.status = 0

    def __repr__(self) -> str:
        return f"<Exchange {self.number} {self.method} {self.path} {self.request_id} on {self.replica or 'no replica'}>"

    # --- Job ----------------------------------------------------------------------------------------------

    @property
    def route_prefix(self) -> str:
        return self.route.prefix if self.route is not None else ""

    @property
    def repeatable(self) -> bool:
        """A safe method, nothing answered yet, and the whole body still here."""
        return (
            self.method in SAFE_METHODS and not self.started_answer and (self.upload is None or self.upload.can_repeat)
        )

    def dispatch(self, link: Link, replica: str, waited_s: float) -> None:
        head = self.request
        assert head is not None
        if waited_s:
            self.queue_ms = head.queue_ms = round(waited_s * 1000, 3)
        head.cache = self.cache
        if self.deadline and not self.open_ended:  # of a websocket it bounds the handshake only
            head.time_left_ms = max(1, int((self.deadline - self.desk.clock()) * 1000))
        self.replica = replica
        upload = self.upload
        self.stream = stream = self._open(link, head, upload is None and not self.open_ended)
        if upload is not None:
            upload.attach(stream)

    def _open(self, link: Link, head: RequestHead, whole: bool) -> Stream:
        data = encode_head(head)
        if len(data) <= LIMITS[REQUEST]:
            return link.open(REQUEST, data, self, END if whole else 0)
        apart = copy.copy(head)  # a large head beside a large first part: the part goes in a frame of its own
        apart.body = b""
        stream = link.open(REQUEST, encode_head(apart), self, 0)
        stream.send_body_now(head.body, whole)
        return stream

    def fail(self, error: MuxError) -> None:
        """Answer with an error; after a partial answer close the client's connection."""
        self.pool = None
        self._answer_error(error)
        self._cancel_stream()

    # --- the client's side --------------------------------------------------------------------------------

    def refuse(self, error: MuxError) -> None:
        """Answer with an error and give up what was asked of the pool."""
        self._answer_error(error)
        self._give_up()

    def client_gone(self) -> None:
        """The client left: cancel. In the log it is a 499."""
        if self.client is not None:
            self.client = None
            self.desk.closed(self, ClientGone.status)
        self._give_up()

    def expire(self) -> None:
        """The deadline has passed: 408, or a broken connection after a partial answer."""
        self.refuse(RequestTimeout("the request took longer than it may"))

    def taken(self, size: int) -> None:
        """The client's side has room again for ``size`` bytes: hand the credit back."""
        if self.stream is not None and size:
            self.stream.consumed(size)

    # --- StreamHandler --------------------------------------------------------------------------------------

    def head_received(self, head: ResponseHead, end: bool) -> None:
        client = self.client
        if client is None or self.started_answer:
            return
        if head.cache and not self.cache:
            self.cache = head.cache
        if head.load_ms or head.wait_ms:
            self.load_ms = head.load_ms
            self.queue_ms += head.wait_ms
        body = head.body
        try:
            answer = safe_head(head.status, head.headers, self.method, len(body) if end else -1)
        except UserCodeError as error:
            self._answer_error(error)
            self._cancel_stream()
            return
        if end and len(body) == answer.length:
            pass  # as nearly all are: whole, and as long as it says
        elif not self._fits_from(answer, len(body), end):
            self._answer_error(UserCodeError("the application's body is not as long as its content-length"))
            self._cancel_stream()
            return
        self._start(client, answer, b"" if answer.bodiless else body, end)

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if kind == RESPONSE:
            end = flags & END != 0
            self.head_received(decode_head(ResponseHead, payload), end)
            if end:
                self._finished()
        elif kind == REFUSED:
            self._refused(decode_head(Refused, payload))
        elif kind == ABORT:
            abort = decode_head(Abort, payload)
            self._answer_error(relayed_error(abort.code, abort.message), abort.status)
            self._finished()
        elif kind == ADMITTED and self.pool is not None:
            self.pool.began(self)

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        client = self.client
        if client is None or not self.started_answer:
            stream.consumed(len(data))
        elif self.bodiless:
            stream.consumed(len(data))
            if end:
                self._end_client()
                client.data(b"", True)
        elif not self._fits(len(data), end):
            self._break()
            self._cancel_stream()
        else:
            if end:
                self._end_client()
            client.data(data, end)
        if end:
            self._finished()

    def stopped(self, stream: Stream) -> None:
        if self.upload is not None:
            self.upload.stopped()

    def cancelled(self, stream: Stream) -> None:
        raise AssertionError("only the opener of a stream cancels it")

    def lost(self, stream: Stream) -> None:
        """The pool learns of the link's loss next and decides: again elsewhere, or ``fail``."""
        if self.upload is not None:
            self.upload.detach()
        self.stream = None

    # --- inside -------------------------------------------------------------------------------------------

    def _fits_from(self, answer: AnswerHead, size: int, end: bool) -> bool:
        """Begin to count the body of an answer."""
        self.left = None if answer.bodiless or answer.length < 0 else answer.length
        return self._fits(size, end)

    def _fits(self, size: int, end: bool) -> bool:
        """Count body bytes against the promised length."""
        if self.left is None:
            return True
        self.left -= size
        return self.left == 0 if end else self.left >= 0

    def _start(self, client: Client, answer: AnswerHead, body: bytes, end: bool) -> None:
        self.started_answer = True
        self.bodiless = answer.bodiless
        self.status = answer.status
        self.desk.sign(self, answer)
        if end:
            self._end_client()
        client.started(answer, body, end)

    def _end_client(self) -> None:
        self.client = None
        self.desk.closed(self, self.status)

    def _answer_error(self, error: MuxError, status: int = 0) -> None:
        if self.client is None:
            return
        if self.started_answer:
            self._break()
            return
        head, body = error_head(error, self.request_id, status)
        if self.method == "HEAD":
            head.bodiless, body = True, b""
        self._start(self.client, head, body, True)

    def _break(self) -> None:
        client = self.client
        if client is not None:
            self._end_client()
            client.broken()

    def _give_up(self) -> None:
        """Nobody waits for the answer any more."""
        pool = self.pool
        if pool is not None:
            if self.stream is None:
                self.pool = None
            pool.cancelled(self)
            self._cancel_stream()

    def _cancel_stream(self) -> None:
        if self.stream is not None:
            self.stream.cancel()

    def _finished(self) -> None:
        self.stream = None
        if self.upload is not None:
            self.upload.detach()
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.finished(self)

    def _refused(self, refused: Refused) -> None:
        if refused.why in REQUEUED and self.client is not None and self.pool is not None:
            self.stream = None
            self.replica = ""
            if self.upload is not None:
                self.upload.detach()
            self.pool.refused(self, refused)
            return
        failure = refused.failure
        self._answer_error(error_of(failure) if failure else ReplicaDied(f"the replica refused: {refused.why}"))
        self._finished()
