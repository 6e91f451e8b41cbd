"""Our own errors in a Starlette or FastAPI application: answered as a plain class's, not with a bare 500."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from runtime.errors import MuxError
from runtime.replica.responses import exception_answer
from runtime.replica.work import current_work


def answer_our_errors(app: Any) -> None:
    """Have the application answer a ``MuxError`` that a route lets out. Its own handlers, for any exception too, stand.

    To be called before the application's first request or lifespan: it makes its handlers' middleware then.
    """
    handlers = getattr(app, "exception_handlers", None)
    if isinstance(handlers, dict) and not {MuxError, Exception, 500} & handlers.keys():
        handlers[MuxError] = _answer


async def _answer(connection: HTTPConnection, exc: Exception) -> Response:
    if not isinstance(connection, Request):
        raise exc  # a websocket is closed by whoever serves it
    work = current_work.get()
    answer = exception_answer(exc, work.context.request_id if work is not None else "")
    if work is not None and answer.status >= 500:
        work.log_failure(exc)
    response = Response(answer.body, answer.status)
    response.raw_headers += answer.headers
    return response
