"""A replica and a transport in memory, for the user API's own tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from runtime.serve import calls
from runtime.serve.codec import decode
from runtime.serve.context import Call, RequestContext, replica_scope, request_context
from runtime.serve.multiplexed import find_loaders


class FakeReplica:
    """Caches without a bound: one dict per loader of ``target``; ``leases`` notes who asked for what."""

    def __init__(self, target: object, servable: object = None, transport: Any = None) -> None:
        self.app_name = "default"
        self.deployment = "Model"
        self.replica_id = "EjYmnQ"
        self.replica_tag = "default_Model#EjYmnQ"
        self.servable_object = servable
        self.transport = transport
        self.loaders = find_loaders(target)
        self.caches: dict[tuple[int, str], object] = {}
        self.leases: list[tuple[str, int, str]] = []

    async def load_model(self, cache: int, model_id: str, owner: object | None) -> object:
        request = request_context.get()
        self.leases.append((request.request_id if request else "", cache, model_id))
        key = (cache, model_id)
        if key not in self.caches:
            self.caches[key] = await self.loaders[cache].load(owner, model_id)
        return self.caches[key]


class FakeTransport:
    """Calls plain functions by deployment and method name, on the loop that made it."""

    def __init__(self, methods: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        self.loop = asyncio.get_running_loop()
        self.methods = methods
        self.seen: list[tuple[str, str, str, float | None]] = []
        self.cancelled: list[str] = []

    pack = staticmethod(calls.pack)

    def start(self, call: Call) -> None:
        """Every call is awaited."""

    async def call(self, call: Call) -> object:
        args, kwargs = self._given(call)
        try:
            return await self.methods[call.deployment, call.method](*args, **kwargs)
        except asyncio.CancelledError:
            self.cancelled.append(call.method)
            raise

    async def stream(self, call: Call) -> AsyncIterator[object]:
        args, kwargs = self._given(call)
        ended = False
        try:
            async for item in self.methods[call.deployment, call.method](*args, **kwargs):
                yield item
            ended = True
        finally:
            if not ended:
                self.cancelled.append(call.method)

    def _given(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self.seen.append((call.deployment, call.method, call.model, call.timeout_s))
        given: tuple[tuple[Any, ...], dict[str, Any]] = decode(*call.arguments)
        return given


@contextlib.contextmanager
def request(model_id: str = "", request_id: str = "r", **fields: Any) -> Iterator[RequestContext]:
    """Be in a request of model ``model_id``."""
    context = RequestContext(request_id, model_id=model_id, **fields)
    token = request_context.set(context)
    try:
        yield context
    finally:
        request_context.reset(token)


def in_task(model_id: str, request_id: str, call: Callable[[], Any], **fields: Any) -> asyncio.Task[Any]:
    """Run ``call`` in a task of its own, inside a request: as a replica runs a handler."""
    with request(model_id, request_id, **fields):

        async def run() -> Any:
            return await call()

        return asyncio.get_running_loop().create_task(run())


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Give the loop turns until ``condition`` holds. Raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - on anything, which nobody signals
            await asyncio.sleep(0)


__all__: list[str] = ["FakeReplica", "FakeTransport", "in_task", "replica_scope", "request", "until"]
