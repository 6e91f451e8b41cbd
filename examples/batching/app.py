"""Batches of one model each: a classifier per language that is cheaper by the dozen."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from runtime import serve

GOOD = {"en": {"good", "great"}, "de": {"gut", "toll"}, "fr": {"bon", "super"}, "es": {"bueno", "genial"}}


class Classifier:
    """Stands for a network whose forward pass takes about as long for eight texts as for one."""

    def __init__(self, language: str) -> None:
        self.good = GOOD[language]

    async def predict(self, texts: list[str]) -> list[str]:
        await asyncio.sleep(0.005)
        return ["good" if self.good & set(text.lower().split()) else "bad" for text in texts]


@serve.deployment
class Reviews:
    @serve.multiplexed(max_num_models_per_replica=4)
    async def get_model(self, language: str) -> Classifier:
        return Classifier(language)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.05)
    async def classify(self, texts: list[str]) -> list[dict[str, object]]:
        language = serve.get_multiplexed_model_id()  # one for the whole batch
        model = await self.get_model(language)
        answers = await model.predict(texts)
        return [{"language": language, "answer": answer, "batch": len(texts)} for answer in answers]

    async def __call__(self, request: Request) -> dict[str, object]:
        return await self.classify((await request.body()).decode())


app = Reviews.bind()
