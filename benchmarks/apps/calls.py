"""Deployments that call each other, the same code on mux and, with ``CALLS_ON=ray``, on Ray Serve."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy
from starlette.requests import Request

if os.environ.get("CALLS_ON") == "ray":
    from ray import serve
else:
    from runtime import serve


@serve.deployment(num_replicas=2, max_ongoing_requests=100)
class Models:
    """Downstream, multiplexed."""

    @serve.multiplexed(max_num_models_per_replica=4)
    async def get_model(self, model_id: str) -> str:
        return model_id

    async def __call__(self) -> str:
        return await self.get_model(serve.get_multiplexed_model_id())


@serve.deployment(max_ongoing_requests=100)
class Plain:
    """Downstream, without models."""

    async def __call__(self) -> int:
        return 1

    async def size(self, array: Any) -> int:
        return int(array.nbytes)


@serve.deployment(max_ongoing_requests=100)
class Front:
    """Answers HTTP: one composed call, or what it has measured of many calls that it made one after the other."""

    def __init__(self, models: Any, plain: Any) -> None:
        self.models = models
        self.plain = plain

    async def __call__(self, request: Request) -> dict[str, Any]:
        count = int(request.query_params.get("count", 0))
        what = request.query_params.get("what")
        if what == "empty":
            return {"seconds": [await self._timed(self.plain) for _ in range(count)]}
        if what == "array":
            array = numpy.ones(10_000_000 // 8)
            return {"seconds": [await self._timed(self.plain.size, array) for _ in range(count)]}
        if what == "copy":
            array = numpy.ones(10_000_000 // 8)
            return {"seconds": [_copied(array) for _ in range(count)]}
        model = serve.get_multiplexed_model_id()
        return {"model": await self.models.options(multiplexed_model_id=model).remote()}

    async def _timed(self, method: Any, *args: Any) -> float:
        started = time.perf_counter()
        await method.remote(*args)
        return time.perf_counter() - started


def _copied(array: Any) -> float:
    started = time.perf_counter()
    array.copy()
    return time.perf_counter() - started


@serve.deployment(max_ongoing_requests=64)
class Batched:
    """Says how full the batch was that a request was in."""

    @serve.multiplexed(max_num_models_per_replica=8)
    async def get_model(self, model_id: str) -> str:
        return model_id

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.05)
    async def predict(self, xs: list[int]) -> list[dict[str, Any]]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return [{"model": model, "batch": len(xs)} for _ in xs]

    async def __call__(self, request: Request) -> dict[str, Any]:
        return await self.predict(1)


app = Front.bind(Models.bind(), Plain.bind())
batched = Batched.bind()
