"""Ingress applications: FastAPI with a lifespan and a websocket of both kinds, Starlette from a builder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from runtime import serve


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"opened": "yes"}


api = FastAPI(lifespan=lifespan)


def settings(request: Request) -> dict[str, str]:
    return {"opened": request.state.opened, "root_path": request.scope["root_path"]}


@serve.deployment
@serve.ingress(api)
class Shop:
    def __init__(self) -> None:
        self.visits = 0
        self.inside = 0
        self.codes: list[int] = []

    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str) -> str:
        return model_id.upper()

    @api.get("/items/{item}")
    async def item(
        self, item: int, found: Annotated[dict[str, str], Depends(settings)], q: str = ""
    ) -> dict[str, object]:
        self.visits += 1
        model = await self.get_model(serve.get_multiplexed_model_id())
        return {"item": item, "q": q, "model": model, "visits": self.visits, **found}

    @api.post("/upload")
    async def upload(self, file: Annotated[UploadFile, File()], title: Annotated[str, Form()]) -> dict[str, object]:
        digest = hashlib.sha256()
        size = 0
        while part := await file.read(1 << 20):
            digest.update(part)
            size += len(part)
        return {"title": title, "size": size, "sha256": digest.hexdigest()}

    @api.put("/raw")
    async def raw(self, request: Request) -> dict[str, object]:
        size = 0
        async for part in request.stream():
            size += len(part)
        return {"size": size}

    @api.get("/events")
    async def events(self, request: Request) -> StreamingResponse:
        async def items() -> AsyncIterator[str]:
            number = 0
            while not await request.is_disconnected():
                yield f"id: {number}\ndata: {serve.get_multiplexed_model_id()}\n\n"
                number += 1

        return StreamingResponse(items(), media_type="text/event-stream")

    @api.websocket("/room")
    async def stay(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.inside += 1
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect as left:
            self.inside -= 1
            self.codes.append(left.code)

    @api.get("/room")
    async def room(self) -> dict[str, Any]:
        return {"inside": self.inside, "codes": self.codes}

    @api.websocket("/talk")
    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
        model = await self.get_model(serve.get_multiplexed_model_id())
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                if message.get("text") == "bye":
                    await websocket.close(4001, "bye yourself")
                    break
                if message.get("text") is not None:
                    await websocket.send_text(f"{model}: {message['text']}")
                else:
                    await websocket.send_bytes(message["bytes"][::-1])
        except WebSocketDisconnect:
            pass


def build() -> Starlette:
    async def home(request: object) -> PlainTextResponse:
        return PlainTextResponse(f"built in {serve.get_replica_context().deployment}")

    return Starlette(routes=[Route("/", home)])


app = Shop.bind()
built = serve.deployment(name="Built")(serve.ingress(build)()).bind()
