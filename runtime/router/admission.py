"""The decision about a request's head, shared by both shells of the front: where to, for which model, how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import BadRequest, BodyTooLarge, HeadTooLarge, RouteNotFound
from runtime.link.frames import BODY_CHUNK, HEAD_LIMIT, RequestHead, encode_head
from runtime.router.known_heads import KnownHeads
from runtime.router.model_ids import ModelIds
from runtime.router.request_headers import HeaderReader, RequestHeaders, timeout_of
from runtime.router.request_ids import valid_request_id
from runtime.router.routes import Route, Routes

if TYPE_CHECKING:
    from runtime.router.desk import Desk
    from runtime.router.exchange import Exchange
    from runtime.router.settings import HttpSettings, ModelIdSettings

_SURELY_SMALL: int = 8 * 1024


class Admission:
    """One per router. ``routes`` is replaced with every table."""

    def __init__(self, desk: Desk, http: HttpSettings, model_id: ModelIdSettings) -> None:
        self.desk = desk
        self.http = http
        self.models = ModelIds(model_id)
        self.routes = Routes([])
        self.read = HeaderReader(model_id.header).read
        self.heads = KnownHeads()

    def admit(self, exchange: Exchange, head: RequestHead, found: RequestHeaders) -> None:
        """Fill in exchange and head from the request's headers. Raises a ``RequestError`` that is the answer.

        The exchange has its request id in any case. Nothing of the body has been read yet.
        """
        exchange.request = head
        given = found.request_id
        exchange.request_id = head.request_id = (
            given.decode() if given is not None and valid_request_id(given) else self.desk.ids.new()
        )
        route = exchange.route = self.routes.match(head.path)
        if found.hosts != 1 and (found.hosts or head.http_version == "1.1"):
            raise BadRequest("a request needs exactly one Host header")
        if route is None:
            raise RouteNotFound(f"no deployment answers {head.method} {exchange.path}")
        limit = self.http.max_body_bytes
        if limit is not None and found.content_length > limit:
            raise BodyTooLarge(f"the body has {found.content_length} bytes; at most {limit} are allowed")
        head.route = route.prefix
        raw = found.model
        if raw is None and self.models.elsewhere:
            raw = self.models.from_url(route.below(head.path), head.query)
        if raw is not None:
            exchange.model = head.model = self.models.check(raw)
        self._set_deadline(exchange, route, found.timeout)
        if not found.all_travel:
            head.headers = found.forwarded(head.headers)
        if len(head.raw_path) + len(head.query) > _SURELY_SMALL or len(head.headers) > 64:
            check_size(head)

    def name_from_body(self, exchange: Exchange, body: bytes) -> None:
        """Take the model id from a JSON body, where the config says so and nothing else named one."""
        if not exchange.model and self.models.in_body and exchange.request is not None:
            raw = self.models.from_body(body)
            if raw is not None:
                exchange.model = exchange.request.model = self.models.check(raw)

    def submit(self, exchange: Exchange) -> None:
        """Hand an admitted exchange to its pool."""
        assert exchange.route is not None
        pool = exchange.pool = exchange.route.pool
        pool.submit(exchange)

    def _set_deadline(self, exchange: Exchange, route: Route, asked: bytes | None) -> None:
        """The client may shorten what the config allows, never lengthen it."""
        limit = route.pool.settings.request_timeout_s
        if limit is None:
            limit = self.http.request_timeout_s
        if asked is not None:
            seconds = timeout_of(asked)
            limit = seconds if limit is None else min(limit, seconds)
        if limit is not None:
            exchange.deadline = exchange.arrived + limit
            self.desk.timed[exchange] = None


def check_size(head: RequestHead) -> None:
    """Raise ``HeadTooLarge`` for a head that would not fit its frame beside the first of the body."""
    if len(encode_head(head)) - min(len(head.body), BODY_CHUNK) > HEAD_LIMIT:
        raise HeadTooLarge(f"the request's head is over {HEAD_LIMIT} bytes")
