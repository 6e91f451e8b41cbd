"""A FastAPI application as a deployment's front: dependencies, uploads, server-sent events and a websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from runtime import serve

api = FastAPI(title="Translations")
DICTIONARY = {"de": {"sea": "Meer", "sun": "Sonne"}, "fr": {"sea": "mer", "sun": "soleil"}}


class Answer(BaseModel):
    """One translation, and who asked for it."""

    word: str
    translation: str
    user: str


def current_user(x_user: Annotated[str, Header()] = "anonymous") -> str:
    if x_user == "mallory":
        raise HTTPException(403, "not you")
    return x_user


@serve.deployment
@serve.ingress(api)
class Translator:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, language: str) -> dict[str, str]:
        if language not in DICTIONARY:
            raise HTTPException(404, f"no dictionary for {language!r}")
        return DICTIONARY[language]

    @api.get("/words/{word}")
    async def translate(self, word: str, user: Annotated[str, Depends(current_user)]) -> Answer:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return Answer(word=word, translation=model.get(word, "?"), user=user)

    @api.post("/files")
    async def file(self, text: UploadFile) -> dict[str, object]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        words = (await text.read()).decode().split()
        return {"name": text.filename, "words": [model.get(word, "?") for word in words]}

    @api.get("/events")
    async def events(self) -> StreamingResponse:
        model = await self.get_model(serve.get_multiplexed_model_id())

        async def items() -> AsyncIterator[str]:
            for word, translation in model.items():
                yield f"event: word\ndata: {word} {translation}\n\n"
                await asyncio.sleep(0)

        return StreamingResponse(items(), media_type="text/event-stream")

    @api.websocket("/chat")
    async def chat(self, websocket: WebSocket) -> None:
        model = await self.get_model(serve.get_multiplexed_model_id())
        await websocket.accept()
        async for word in websocket.iter_text():
            await websocket.send_text(model.get(word, "?"))


app = Translator.bind()
