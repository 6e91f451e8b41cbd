"""The control API as an ASGI application; the shapes are in ``api.py``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar, cast

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from runtime.errors import BadRequest, MuxError
from runtime.supervisor.api import (
    ApplyRequest,
    DownRequest,
    Event,
    ModelRequest,
    ProjectStatus,
    RestartRequest,
    ScaleRequest,
    WaitRequest,
)
from runtime.supervisor.failures import fault_of, to_event, to_payload
from runtime.supervisor.models import Models
from runtime.supervisor.operations import Operations

Body = TypeVar("Body", bound=msgspec.Struct)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def control_app(
    operations: Operations,
    models: Models,
    status: Callable[[], Awaitable[ProjectStatus]],
    on_bug: Callable[[str, BaseException], None],
) -> Starlette:
    """Return the application. ``on_bug`` is told of what is no ``MuxError``."""

    async def get_status(request: Request) -> Response:
        return _json(await status())

    async def get_models(request: Request) -> Response:
        return _json(await models.resident(request.query_params.get("deployment", "")))

    async def change_models(request: Request) -> Response:
        asked = await _body(request, ModelRequest)
        return _json(await models.change(request.path_params["verb"], asked))

    async def explain(request: Request) -> Response:
        query = request.query_params
        return _json(await models.explain(query.get("request_id", ""), query.get("model", "")))

    async def failed(request: Request, exc: Exception) -> Response:
        error = cast("MuxError", exc)
        return _json(to_payload(error), error.status)

    def stream(command: Callable[[Body], AsyncIterator[Event]], shape: type[Body]) -> Handler:
        async def endpoint(request: Request) -> Response:
            return EventStream(command(await _body(request, shape)), on_bug)

        return endpoint

    return Starlette(
        routes=[
            Route("/v1/status", get_status),
            Route("/v1/apply", stream(operations.apply, ApplyRequest), methods=["POST"]),
            Route("/v1/wait", stream(operations.wait, WaitRequest), methods=["POST"]),
            Route("/v1/scale", stream(operations.scale, ScaleRequest), methods=["POST"]),
            Route("/v1/restart", stream(operations.restart, RestartRequest), methods=["POST"]),
            Route("/v1/down", stream(operations.down, DownRequest), methods=["POST"]),
            Route("/v1/models", get_models),
            Route("/v1/models/{verb}", change_models, methods=["POST"]),
            Route("/v1/explain", explain),
        ],
        exception_handlers={MuxError: failed},
    )


async def _body(request: Request, shape: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=shape)
    except msgspec.DecodeError as exc:
        raise BadRequest(f"The body of {request.url.path} is not what is asked for: {exc}.") from exc


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")


async def guarded(events: AsyncIterator[Event], on_bug: Callable[[str, BaseException], None]) -> AsyncIterator[Event]:
    """Yield the events of a command; an error becomes the last one."""
    try:
        async with aclosing(cast("Any", events)) as running:
            async for event in running:
                yield event
    except MuxError as exc:
        yield to_event(exc)
    except Exception as exc:
        on_bug("a command", exc)
        yield to_event(fault_of(exc))


class EventStream(Response):
    """Events as NDJSON. A client that leaves ends the following, not what it asked for."""

    media_type = "application/x-ndjson"

    def __init__(self, events: AsyncIterator[Event], on_bug: Callable[[str, BaseException], None]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._events = guarded(events, on_bug)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(cast("Any", self._events)) as events:
            async for event in events:
                await send(_chunk(msgspec.json.encode(event) + b"\n", more=True))
        await send(_chunk(b"", more=False))


def _chunk(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
