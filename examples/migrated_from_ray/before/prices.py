"""Multiplexing with batching: one price model for each shop, asked for many articles at a time."""

from __future__ import annotations

from ray import serve
from starlette.requests import Request

MARGINS = {"corner": 1.5, "market": 1.2, "outlet": 1.05}


@serve.deployment(max_ongoing_requests=24)
class Prices:
    @serve.multiplexed(max_num_models_per_replica=3)
    async def get_margin(self, shop: str) -> float:
        return MARGINS[shop]

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.05)
    async def price(self, costs: list[float]) -> list[float]:
        margin = await self.get_margin(serve.get_multiplexed_model_id())
        return [round(cost * margin, 2) for cost in costs]

    async def __call__(self, request: Request) -> dict[str, float]:
        return {"price": await self.price(float(request.query_params["cost"]))}


app = Prices.bind()
