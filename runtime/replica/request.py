"""One HTTP request or websocket in the replica: what user code is given, and how its answer goes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from runtime.errors import BadRequest, BodyTooLarge, MuxError
from runtime.link.asgi import ClientDisconnected, HttpExchange, IncomingBody, http_scope
from runtime.link.asgi_websocket import WebsocketExchange, websocket_scope
from runtime.link.frames import BODY_CHUNK, CLOSE, END, RESPONSE, Headers, RequestHead, ResponseHead, encode_head
from runtime.link.stream import Stream
from runtime.replica import responses
from runtime.replica.responses import Answer, Plain
from runtime.replica.work import Work
from runtime.serve.context import RequestContext

if TYPE_CHECKING:
    from runtime.replica.host import Host


UNHEARD_S: Final = 30.0
_WEBSOCKET: Final = frozenset({"ws", "wss"})
_MADE_LATER: Final = frozenset({"scope", "_receive", "_send"})


class UserRequest(Request):
    """The request that user code gets: starlette's, whose body is bounded where it must be in memory.

    Its scope and channels are made when user code first asks for them: most ask for the body alone.
    """

    _stream_consumed = False
    _is_disconnected = False

    def __init__(self, work: HttpWork) -> None:
        self._work = work
        self.max_buffered_body_bytes = limit = work.host.max_buffered_body_bytes
        whole = work.incoming.complete
        if whole is not None and len(whole) <= limit:
            self._body = whole

    def __getattr__(self, name: str) -> Any:
        if name not in _MADE_LATER:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        exchange = self._work.http()
        self.scope = http_scope(self._work.request)
        self._receive, self._send = exchange.receive, exchange.send
        return self.__dict__[name]

    async def body(self) -> bytes:
        """Return the whole body. Raises ``BodyTooLarge`` over ``max_buffered_body_bytes``."""
        if not hasattr(self, "_body"):
            limit = self.max_buffered_body_bytes
            if int(self.headers.get("content-length", 0)) > limit:
                raise _too_large(limit)
            parts, size = [], 0
            async for part in self.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
            self._body = b"".join(parts)
        return self._body


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is over max_buffered_body_bytes ({limit}), and the handler needs all of it in memory",
        hint="raise max_buffered_body_bytes, or read it in parts with request.stream()",
    )


class HttpWork(Work):
    """A REQUEST stream."""

    __slots__ = ("exchange", "incoming", "request", "websocket")

    def __init__(self, host: Host, stream: Stream, head: RequestHead, ended: bool) -> None:
        now = host.now()
        deadline = now + head.time_left_ms / 1000 if head.time_left_ms > 0 else None
        context = RequestContext(head.request_id, head.route, head.model, host.application, host.chain, deadline)
        super().__init__(host, stream, context, now)
        self.request = head
        self.incoming = IncomingBody(head.body, ended)
        self.router_cache = head.cache
        self.exchange: HttpExchange | None = None
        self.websocket: WebsocketExchange | None = None
        if head.scheme in _WEBSOCKET:
            self.websocket = WebsocketExchange(stream, self._head)

    # --- the stream ---------------------------------------------------------------------------------------

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        if self.websocket is not None:
            self.websocket.frame(kind, payload, flags)
            if kind == CLOSE:
                self.host.loop.call_later(UNHEARD_S, self._cancel_unheard)

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self.incoming.feed(stream, data, end)

    def more_expected(self) -> bool:
        return not self.incoming.ended and self.websocket is None

    def give_up(self) -> None:
        self.incoming.leave()
        if self.websocket is not None:
            self.websocket.disconnect()

    def _cancel_unheard(self) -> None:
        """Cancel a websocket that still neither receives nor sends, and so does not know that its client has gone."""
        if self.websocket is not None and not self.websocket.told:
            self.cancel("client_gone")

    def let_go(self) -> None:
        super().let_go()
        self.exchange = self.websocket = None

    # --- what user code gets ------------------------------------------------------------------------------

    def user_request(self) -> UserRequest:
        """Return the starlette request; a body that is all here is handed over with it."""
        return UserRequest(self)

    def http(self) -> HttpExchange:
        if self.exchange is None:
            self.exchange = HttpExchange(self.stream, self.incoming, self._head)
        return self.exchange

    # --- running and answering ----------------------------------------------------------------------------

    async def run(self) -> None:
        servable = self.host.servable
        app = servable.asgi_app
        if app is not None:
            await self._run_app(app, servable.asgi_state)
        elif self.websocket is not None:
            raise BadRequest("this deployment takes no websockets: it has no @serve.ingress application")
        else:
            answer = responses.answer_of(await servable.respond(self))
            if type(answer) is Plain and len(answer.body) <= BODY_CHUNK:
                self.status = answer.status
                self.send(RESPONSE, encode_head(self._head(answer.status, answer.headers, answer.body)), END)
            else:
                await self._answer(answer)

    async def _run_app(self, app: Any, state: dict[str, Any]) -> None:
        if self.websocket is not None:
            await app(websocket_scope(self.request, state), self.websocket.receive, self.websocket.send)
            self.websocket.end(failed=False)
            self.status = self.websocket.status
            return
        exchange = self.http()
        await app(http_scope(self.request, state), exchange.receive, exchange.send)
        self.status = exchange.status
        if not exchange.complete:
            raise RuntimeError("the application returned without completing its response")

    async def _answer(self, answer: Answer) -> None:
        """Send an answer that takes more than one frame, or that sends itself."""
        if isinstance(answer, Plain):
            self.status = answer.status
            headers = answer.headers
            if not any(name == b"content-length" for name, _ in headers):
                headers = [*headers, (b"content-length", b"%d" % len(answer.body))]
            await self.http().respond(answer.status, headers, answer.body)
        elif isinstance(answer, Response):
            exchange = self.http()
            await answer(http_scope(self.request), exchange.receive, exchange.send)
            self.status = exchange.status
        elif isinstance(answer, AsyncIterator):
            await self._stream(answer)
        elif isinstance(answer, Iterator):
            await self._stream(self.host.executor.iterate(answer))

    async def _stream(self, items: AsyncIterator[Any]) -> None:
        """Send a generator's items as they come. The head waits for the first: an early error is still a 500."""
        exchange = self.http()
        try:
            async for item in items:
                if not exchange.started:
                    await exchange.start(200, [responses.TEXT])
                await exchange.send(_body(responses.chunk_of(item), more=True))
            if not exchange.started:
                await exchange.start(200, [responses.TEXT])
            await exchange.send(_body(b"", more=False))
            self.status = 200
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _head(self, status: int, headers: Headers, body: bytes) -> ResponseHead:
        return ResponseHead(status, headers, self.cache, self.load_ms, self.wait_ms, body)

    async def fail(self, exc: BaseException) -> None:
        """Answer with the error; after a partial answer abort, so that the client's connection is closed."""
        if isinstance(exc, ClientDisconnected | ClientDisconnect | WebSocketDisconnect):
            self._left_behind()
            return
        answer = responses.exception_answer(exc, self.context.request_id)
        answered = self.stream.local_ended or self.stream.closed
        begun = self.exchange is not None and self.exchange.started
        open_socket = self.websocket is not None and self.websocket.status
        self.status = 500 if answered or begun or open_socket else answer.status
        if self.status >= 500:  # or the client is not told what it was
            self.log_failure(exc)
        if answered:
            return
        if self.websocket is not None and open_socket:
            self.websocket.end(failed=True)
        elif begun:
            code = exc.code if isinstance(exc, MuxError) else "user_code_failed"
            self.abort(code, f"{type(exc).__name__} after a part of the answer was sent", 500)
        else:
            self.send(RESPONSE, encode_head(self._head(answer.status, answer.headers, answer.body)), END)

    def _left_behind(self) -> None:
        """User code stopped as its client had gone; for a websocket that is one way to end."""
        if self.websocket is not None:
            self.websocket.end(failed=False)
            self.status = self.websocket.status
        else:
            self.cancelled_why = self.cancelled_why or "client_gone"


def _body(data: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}
