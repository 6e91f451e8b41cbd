"""Two deployments: a search page, and the ranking models of many countries that it calls through a handle."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from runtime import serve
from runtime.serve.handle import DeploymentHandle

CATALOGUE = {"umbrella": 12, "sunscreen": 7, "boots": 60, "sandals": 25}
WEATHER = {"ie": "umbrella", "es": "sunscreen", "no": "boots", "gr": "sandals"}


class RankingModel:
    """Puts what a country's weather calls for first, then the cheap before the dear."""

    def __init__(self, country: str) -> None:
        self.first = WEATHER[country]

    def rank(self, items: list[str]) -> list[str]:
        return sorted(items, key=lambda item: (item != self.first, CATALOGUE[item]))


@serve.deployment(max_ongoing_requests=32)
class Ranking:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, country: str) -> RankingModel:
        if country not in WEATHER:
            raise LookupError(f"no ranking model for country {country!r}")
        return RankingModel(country)

    async def __call__(self, items: list[str]) -> list[str]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return model.rank(items)

    async def one_by_one(self, items: list[str]) -> AsyncIterator[str]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        for item in model.rank(items):
            yield item


@serve.deployment
class Search:
    def __init__(self, ranking: DeploymentHandle) -> None:
        self.ranking = ranking

    async def __call__(self, request: Request) -> dict[str, object]:
        country = request.query_params.get("country", "ie")
        ranked = await self.ranking.options(multiplexed_model_id=country).remote(list(CATALOGUE))
        return {"country": country, "items": ranked}


app = Search.bind(Ranking.bind())
