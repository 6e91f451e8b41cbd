"""What all exchanges of a router share: the clock, ids, counts, the log, and the list of deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from runtime.router.request_ids import RequestIds
from runtime.router.tally import Tally
from runtime.router.writes import Writes

if TYPE_CHECKING:
    from runtime.observe.logs import LogWriter
    from runtime.router.answers import AnswerHead
    from runtime.router.exchange import Exchange


class Timed(Protocol):
    """Something with a deadline on the desk's clock."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""


class Desk:
    """One per router. ``timed`` holds the exchanges and calls with a deadline, in order of arrival."""

    def __init__(self, log: LogWriter, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.log = log
        self.ids = RequestIds()
        self.timed: dict[Timed, None] = {}
        self.writes = Writes()
        self.requests = 0
        self.unrouted = Tally()  # requests that belong to no deployment
        self._defaults: tuple[object, bytes] = (None, b"")

    def default_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return uvicorn's own headers as lines. It makes a new list of them every second, for the date."""
        made_of, lines = self._defaults
        if made_of is not headers:
            lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
            self._defaults = (headers, lines)
        return lines

    def sign(self, exchange: Exchange, answer: AnswerHead) -> None:
        """Add our headers to an answer: who served it and how."""
        answer.own += b"x-request-id: %b\r\n" % exchange.request_id.encode()
        if not exchange.replica:
            return
        queue = b"%.1f" % exchange.queue_ms if exchange.queue_ms else b"0"
        answer.own += b"x-mux-replica: %b\r\nx-mux-queue-ms: %b\r\n" % (exchange.replica.encode(), queue)
        if exchange.cache == "hit":
            answer.own += b"x-mux-cache: hit\r\n"
        elif exchange.cache:
            answer.own += b"x-mux-cache: %b\r\nx-mux-load-ms: %.1f\r\n" % (exchange.cache.encode(), exchange.load_ms)

    def closed(self, exchange: Exchange, status: int) -> None:
        """An exchange is over for its client: count it and write its line."""
        if exchange.deadline:
            self.timed.pop(exchange, None)
        self.requests += 1
        route = exchange.route
        ms = (self.clock() - exchange.arrived) * 1000
        tally = route.pool.tally if route is not None else self.unrouted
        tally.count(status, exchange.cache, exchange.model, ms, exchange.queue_ms)
        if status < 500 and self.log.sampled_out():
            return
        self.log.access(
            request_id=exchange.request_id,
            deployment=route.pool.name if route is not None else "",
            route=route.prefix if route is not None else "",
            model=exchange.model,
            method=exchange.method,
            path=exchange.path,
            status=status,
            ms=ms,
            queue_ms=exchange.queue_ms,
            cache=exchange.cache,
            replica=exchange.replica,
            client=exchange.peer[0] if exchange.peer else "",
            application=route.pool.application if route is not None else "",
        )
