"""What the router answers itself, below ``/-/``."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.errors import BadRequest, BodyTooLarge, MuxError, RouteNotFound, Unauthorized
from runtime.router.answers import CLOSE, JSON_TYPE, error_head
from runtime.router.front import ReceiveMessage, Scope, SendMessage
from runtime.router.metrics import CONTENT_TYPE, Metrics
from runtime.router.overview import VERBS, Overview

if TYPE_CHECKING:
    from runtime.router.desk import Desk
    from runtime.router.fleet import Fleet

_BODY_LIMIT: Final = 64 * 1024
_encode: Final = msgspec.json.Encoder().encode
_GET: Final = frozenset({"GET", "HEAD"})


class ModelVerb(msgspec.Struct):
    """The body of an admin verb."""

    models: list[str]
    deployment: str = ""
    replica: str = ""


class Admin:
    """An ASGI application. Verbs that change something need POST and the admin token."""

    def __init__(self, fleet: Fleet, desk: Desk, overview: Overview, metrics: Metrics, token: str) -> None:
        self._fleet = fleet
        self._desk = desk
        self._overview = overview
        self._metrics = metrics
        self._token = token.encode()
        self.draining = False

    async def __call__(self, scope: Scope, receive: ReceiveMessage, send: SendMessage) -> None:
        kind = JSON_TYPE
        try:
            status, body = 200, b""
            if scope["path"] == "/-/metrics" and scope["method"] in _GET:
                kind, body = (b"content-type", CONTENT_TYPE), self._metrics.scrape()
            elif scope["path"] == "/-/healthz" and scope["method"] in _GET:
                status, answer = self._health()
                body = _encode(answer)
            else:
                body = _encode(await self._answer(scope, receive))
            headers = [kind, (b"content-length", b"%d" % len(body))]
        except MuxError as error:
            head, body = error_head(error, self._desk.ids.new())
            head.own += CLOSE
            status, headers = head.status, head.headers
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _health(self) -> tuple[int, dict[str, Any]]:
        """200 only while this router can serve: it has its table, and every scheduler makes progress."""
        why = self._fleet.stalled()
        if self.draining:
            why = "the router is draining"
        elif not self._fleet.generation:
            why = "the router has no table yet"
        return (503, {"status": "unhealthy", "message": why}) if why else (200, {"status": "ok"})

    async def _answer(self, scope: Scope, receive: ReceiveMessage) -> Any:
        path, method = scope["path"], scope["method"]
        if method in _GET and path == "/-/routes":
            return self._overview.routes()
        if method in _GET and path == "/-/models":
            return {"models": self._overview.models()}
        verb = path.removeprefix("/-/models/")
        if verb in VERBS and method == "POST":
            self._authorize(scope)
            asked = await _read(receive)
            return {"models": await self._overview.change(verb, asked.models, asked.deployment, asked.replica)}
        raise RouteNotFound(f"the router itself has no {method} {path}")

    def _authorize(self, scope: Scope) -> None:
        if not self._token:
            raise Unauthorized(
                "admin verbs over HTTP are off", hint="Set http.admin_token, or use the mux command line."
            )
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        wanted = b"Bearer " + self._token
        if len(given) != 1 or not hmac.compare_digest(given[0], wanted):
            raise Unauthorized("the admin token is missing or wrong", hint="Send: authorization: Bearer <token>.")


async def _read(receive: ReceiveMessage) -> ModelVerb:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the client left")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _BODY_LIMIT:
            raise BodyTooLarge(f"the body has more than {_BODY_LIMIT} bytes")
    try:
        return msgspec.json.decode(body, type=ModelVerb)
    except msgspec.DecodeError as exc:
        raise BadRequest(f'the body is not as it should be: {exc}; send {{"models": ["1"]}}') from None
