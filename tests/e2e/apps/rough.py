"""Models and requests that behave as badly as their ids and paths say; what they did is written into ``$MARKS``."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

MARKS = Path(os.environ["MARKS"])
CHUNK = b"x" * 65536


def mark(word: str) -> None:
    with MARKS.open("a") as file:
        file.write(f"{word}\n")


async def marked(word: str) -> None:
    """Wait until a test has written ``word``."""
    async with asyncio.timeout(30):
        while word not in MARKS.read_text().split("\n"):
            await asyncio.sleep(0.01)


def load_model(model_id: str) -> str:
    kind = model_id.partition("-")[0]
    mark(f"load {model_id}")
    if kind == "none":
        raise LookupError(f"no model {model_id}")
    if kind == "broken":
        raise ValueError(f"the weights of {model_id} are torn")
    if kind == "hanging":
        threading.Event().wait(20)
    if kind == "deadly":
        os._exit(7)
    if kind == "slow":
        time.sleep(0.5)
    return model_id


async def predict(model: str | None = None, request: Request | None = None) -> Any:
    assert request is not None
    path = request.url.path.rpartition("/")[2]
    return await DOES.get(path, who)(model, request)


async def who(model: str | None, request: Request) -> Any:
    return {"model": model, "pid": os.getpid()}


async def fail(model: str | None, request: Request) -> Any:
    raise RuntimeError("the handler fell over")


async def die(model: str | None, request: Request) -> Any:
    os._exit(9)


async def block(model: str | None, request: Request) -> Any:
    time.sleep(float(request.query_params["s"]))
    return "blocked"


async def hold(model: str | None, request: Request) -> Any:
    """Answer once the test says so."""
    name = request.query_params["name"]
    mark(f"begin {name}")
    try:
        await marked(f"release {name}")
    except asyncio.CancelledError:
        mark(f"cancelled {name}")
        raise
    return name


async def say(model: str | None, request: Request) -> Any:
    print(request.query_params["word"])
    return "said"


async def pour(model: str | None, request: Request) -> Any:
    """Stream ``mib`` of bytes."""
    count = int(request.query_params["mib"]) * 16

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield CHUNK

    return StreamingResponse(chunks())


async def swallow(model: str | None, request: Request) -> Any:
    """Count the bytes of the body as they come."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
    return total


DOES: dict[str, Callable[[str | None, Request], Awaitable[Any]]] = {
    one.__name__: one for one in (who, fail, die, block, hold, say, pour, swallow)
}
