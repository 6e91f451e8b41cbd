"""A front page that asks a multiplexed deployment for one headline in each reader's language."""

from __future__ import annotations

from starlette.requests import Request

from runtime import serve
from runtime.serve.handle import DeploymentHandle

WORDS = {"en": ("rain", "tomorrow"), "de": ("Regen", "morgen"), "fr": ("pluie", "demain")}


@serve.deployment(num_replicas=2)
class Headlines:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_words(self, language: str) -> tuple[str, str]:
        return WORDS[language]

    async def headline(self, city: str) -> str:
        what, when = await self.get_words(serve.get_multiplexed_model_id())
        return f"{city}: {what} {when}"


@serve.deployment
class FrontPage:
    def __init__(self, headlines: DeploymentHandle) -> None:
        self.headlines = headlines

    async def __call__(self, request: Request) -> list[str]:
        city = request.query_params["city"]
        languages = request.query_params["languages"].split(",")
        calls = [self.headlines.options(multiplexed_model_id=each).headline.remote(city) for each in languages]
        return [await call for call in calls]


app = FrontPage.bind(Headlines.bind())
