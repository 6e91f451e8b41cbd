"""Models and requests that behave as badly as their ids and paths say; what they did is written into ``$MARKS``."""

from __future__ import annotations

import asyncio
import os
import sys
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


def is_marked(word: str) -> bool:
    return word in MARKS.read_text().split("\n")


def load_model(model_id: str) -> str:
    kind = model_id.partition("-")[0]
    mark(f"load {model_id}")
    if kind == "none":
        raise LookupError(f"no model {model_id}")
    if kind == "broken":
        raise ValueError(f"the weights of {model_id} are torn")
    if kind == "deadly":
        os._exit(7)
    if kind == "held":
        hold_thread(model_id)
    return model_id


def load_file(model_id: str, path: str) -> str:
    return Path(path).read_text()


def hold_thread(name: str) -> None:
    """Return once the test says so."""
    deadline, pause = time.monotonic() + 30, threading.Event()
    while not is_marked(f"release {name}") and time.monotonic() < deadline:
        pause.wait(0.01)


async def predict(model: str | None = None, request: Request | None = None) -> Any:
    assert request is not None
    return await DOES.get(request.url.path.rpartition("/")[2], who)(model, request)


async def who(model: str | None, request: Request) -> Any:
    return {"model": model, "pid": os.getpid()}


async def fail(model: str | None, request: Request) -> Any:
    raise RuntimeError("the handler fell over")


async def die(model: str | None, request: Request) -> Any:
    os._exit(9)


async def leave(model: str | None, request: Request) -> Any:
    """End the process as ``sys.exit`` does from a task of its own: asyncio lets it out of the event loop."""

    async def task() -> None:
        sys.exit(6)

    await asyncio.create_task(task())


async def block(model: str | None, request: Request) -> Any:
    """Block the loop until the test says so."""
    mark(f"begin {request.query_params['name']}")
    hold_thread(request.query_params["name"])
    return "blocked"


async def hold(model: str | None, request: Request) -> Any:
    """Answer once the test says so."""
    name = request.query_params["name"]
    mark(f"begin {name}")
    try:
        async with asyncio.timeout(30):
            while not is_marked(f"release {name}"):  # noqa: ASYNC110 - another process says so, through a file
                await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        mark(f"cancelled {name}")
        raise
    return name


async def say(model: str | None, request: Request) -> Any:
    """Print a word, and much beside it."""
    print(request.query_params["word"], "." * int(request.query_params.get("dots", "0")))
    return "said"


async def pour(model: str | None, request: Request) -> Any:
    """Stream ``mib`` of bytes."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(int(request.query_params["mib"]) * 16):
            yield CHUNK

    return StreamingResponse(chunks())


async def swallow(model: str | None, request: Request) -> Any:
    """Count the bytes of the body as they come."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
    return total


DOES: dict[str, Callable[[str | None, Request], Awaitable[Any]]] = {
    one.__name__: one for one in (who, fail, die, leave, block, hold, say, pour, swallow)
}
