"""The ASGI shell of the front: any request, with bodies streamed both ways at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.errors import BodyTooLarge, ClientGone, MuxError
from runtime.link.frames import BODY_CHUNK, RequestHead
from runtime.router.answers import CLOSE, AnswerHead
from runtime.router.exchange import Exchange
from runtime.router.upload import Upload

if TYPE_CHECKING:
    from runtime.router.admission import Admission
    from runtime.router.request_headers import RequestHeaders

Scope = dict[str, Any]
Message = dict[str, Any]
ReceiveMessage = Callable[[], Awaitable[Message]]
SendMessage = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, ReceiveMessage, SendMessage], Awaitable[None]]

CONNECTION: Final = "mux.connection"  # in the scope: the protocol
ADMIN_PREFIX: Final = "/-/"


class Guest(Protocol):
    """Whoever uses a connection now."""

    def gone(self) -> None:
        """The connection was lost."""

    def refuse(self, error: MuxError) -> None:
        """The rest of the request cannot be had: answer with an error, or break off."""


class Connection(Protocol):
    """What the shell needs of the HTTP protocol beyond ASGI."""

    guest: Guest | None

    @property
    def body_open(self) -> bool:
        """Whether the request's body has not been received whole."""

    def reading(self, waits: bool) -> None:
        """Somebody waits for more of the body, or no longer: a client may not let them wait for ever."""

    def finish(self) -> None:
        """Close the connection after this answer."""

    def abort(self) -> None:
        """Close the connection now: the answer stays partial."""


class AsgiClient:
    """Implements ``Client`` over ASGI's ``send``: a queue between the link's callbacks and a coroutine."""

    def __init__(self, connection: Connection) -> None:
        self.exchange: Exchange | None = None  # set before anything is called
        self.connection = connection
        self._queue: deque[tuple[Message | None, int]] = deque()  # (message, None for broken; its credit)
        self._changed: asyncio.Future[None] | None = None

    def started(self, head: AnswerHead, body: bytes, end: bool) -> None:
        if end and self.connection.body_open:
            head.own += CLOSE
        self._put({"type": "http.response.start", "status": head.status, "headers": head.headers}, 0)
        if body or end:
            self._put({"type": "http.response.body", "body": body, "more_body": not end}, 0)

    def data(self, body: bytes, end: bool) -> None:
        self._put({"type": "http.response.body", "body": body, "more_body": not end}, len(body))

    def broken(self) -> None:
        self._put(None, 0)

    def gone(self) -> None:
        """The client has left."""
        if self.exchange is not None:
            self.exchange.client_gone()
        self._put(None, 0)

    def refuse(self, error: MuxError) -> None:
        if self.exchange is not None:
            self.exchange.refuse(error)

    async def run(self, send: SendMessage) -> bool:
        """Send until the answer has ended; False if the rest of it will not come or nobody is there to take it."""
        while True:
            while not self._queue:
                self._changed = asyncio.get_running_loop().create_future()
                await self._changed
            message, credit = self._queue.popleft()
            if message is None:
                return False
            end = not message.get("more_body", True)
            if end and self.connection.body_open:
                self.connection.finish()
            await send(message)
            if credit and self.exchange is not None:
                self.exchange.taken(credit)
            if end:
                return True

    def _put(self, message: Message | None, credit: int) -> None:
        self._queue.append((message, credit))
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class Front:
    """The ASGI application. ``admin`` answers below ``/-/``, ``websockets`` the websockets."""

    def __init__(self, admission: Admission, admin: Application, websockets: Application) -> None:
        self._admission = admission
        self._desk = admission.desk
        self._admin = admin
        self._websockets = websockets

    async def __call__(self, scope: Scope, receive: ReceiveMessage, send: SendMessage) -> None:
        if scope["type"] == "websocket":
            await self._websockets(scope, receive, send)
        elif scope["path"].startswith(ADMIN_PREFIX):
            await self._admin(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: ReceiveMessage, send: SendMessage) -> None:
        connection: Connection = scope[CONNECTION]
        client = AsgiClient(connection)
        exchange = Exchange(self._desk, client, scope["method"], scope["path"], "", self._desk.clock())
        exchange.peer = scope["client"]
        client.exchange = exchange
        connection.guest = client
        found = self._admit(exchange, scope)
        async with asyncio.TaskGroup() as tasks:
            intake = None
            if found is not None and found.has_body:
                intake = tasks.create_task(self._take_body(exchange, client, found, receive))
            elif found is not None:
                self._admission.submit(exchange)
            complete = await client.run(send)
            if intake is not None:
                intake.cancel()
        connection.guest = None
        if not complete:
            connection.abort()

    def _admit(self, exchange: Exchange, scope: Scope) -> RequestHeaders | None:
        """Return what the head says, None if it was answered."""
        head = head_of(scope)
        found = self._admission.read(head.headers)
        try:
            self._admission.admit(exchange, head, found)
            return found
        except MuxError as error:
            exchange.refuse(error)
            return None

    async def _take_body(
        self, exchange: Exchange, client: AsgiClient, found: RequestHeaders, receive: ReceiveMessage
    ) -> None:
        """Submit the request and pump its body; a small one is read before, so that the request is one frame."""
        try:
            upload = await self._submit(exchange, client, found, receive)
            if upload is not None:
                await upload.run()
        except ClientGone:
            client.gone()
        except MuxError as error:
            exchange.refuse(error)

    async def _submit(
        self, exchange: Exchange, client: AsgiClient, found: RequestHeaders, receive: ReceiveMessage
    ) -> Upload | None:
        """Submit with a body of one frame, or return the pump of one that is larger.

        Nothing of a large body, or of one whose client waits for 100 Continue, is read before the dispatch.
        """
        assert exchange.route is not None
        assert exchange.request is not None
        body = IncomingBody(client.connection, receive, self._admission.http.max_body_bytes)
        whole = b""
        if self._admission.models.in_body and not exchange.model:
            whole = await body.gather(exchange.route.pool.settings.max_buffered_body_bytes)
            self._admission.name_from_body(exchange, whole)
            if len(whole) > BODY_CHUNK:
                exchange.upload = Upload(Rest(whole[BODY_CHUNK:]).part)
        elif 0 <= found.content_length <= BODY_CHUNK and not found.expects_continue:
            whole = await body.gather(BODY_CHUNK)
        else:
            exchange.upload = Upload(body.part)
        exchange.request.body = whole[:BODY_CHUNK]
        if exchange.client is None:  # answered while its body was read: its deadline has passed
            return None
        self._admission.submit(exchange)
        return exchange.upload


class IncomingBody:
    """A client's body from ASGI's ``receive``, counted against a limit in bytes."""

    def __init__(self, connection: Connection, receive: ReceiveMessage, limit: int | None) -> None:
        self._connection = connection
        self._receive = receive
        self._limit = limit
        self._received = 0

    async def part(self) -> tuple[bytes, bool]:
        """Return the next part and whether it is the last. Raises ``ClientGone``, ``BodyTooLarge``."""
        self._connection.reading(True)
        message = await self._receive()
        self._connection.reading(False)
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left")
        data: bytes = message.get("body", b"")
        self._received += len(data)
        if self._limit is not None and self._received > self._limit:
            raise BodyTooLarge(f"the body has more than the {self._limit} bytes that are allowed")
        return data, not message.get("more_body", False)

    async def gather(self, limit: int) -> bytes:
        """Return the whole body. Raises ``BodyTooLarge`` also where it is over ``limit`` bytes."""
        parts: list[bytes] = []
        end = False
        while not end:
            data, end = await self.part()
            parts.append(data)
            if self._received > limit:
                raise BodyTooLarge(f"the body has more than the {limit} bytes that may be held in memory")
        return b"".join(parts)


class Rest:
    """The rest of a body that is already here."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def part(self) -> tuple[bytes, bool]:
        return self._data, True


def head_of(scope: Scope) -> RequestHead:
    """Return the head of a scope as it travels; routing fills in the rest."""
    return RequestHead(
        method=scope.get("method", "GET"),
        path=scope["path"],
        raw_path=scope["raw_path"],
        query=scope["query_string"],
        scheme=scope["scheme"],
        http_version=scope["http_version"],
        client=scope["client"],
        server=scope["server"],
        headers=scope["headers"],
        route="",
        model="",
        request_id="",
        time_left_ms=0,
    )
