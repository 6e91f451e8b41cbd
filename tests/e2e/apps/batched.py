"""Batches that tell how full they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request

from runtime import serve


@serve.deployment
class Batched:
    @serve.multiplexed(max_num_models_per_replica=8)
    async def get_model(self, model_id: str) -> str:
        return model_id

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.25)
    async def predict(self, xs: list[int]) -> list[dict[str, Any]]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        await asyncio.sleep(0.005)
        if -1 in xs:
            raise ValueError(f"{model} cannot take -1")
        return [{"model": model, "x": x, "batch": len(xs)} for x in xs]

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.05)
    async def letters(self, words: list[str]) -> AsyncIterator[list[Any]]:
        for place in range(max(map(len, words))):
            yield [word[place] + "\n" if place < len(word) else StopIteration for word in words]

    async def __call__(self, request: Request) -> Any:
        if "word" in request.query_params:
            return self.letters(request.query_params["word"])
        return await self.predict(int(request.query_params["x"]))


app = Batched.bind()
