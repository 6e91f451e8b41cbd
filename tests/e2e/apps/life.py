"""Deployments that tell what happens to them: constructed, configured, limited, ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from starlette.requests import Request

from runtime import serve

MARKS = Path(os.environ["MARKS"])


def mark(word: str) -> None:
    with MARKS.open("a") as file:
        file.write(word + "\n")


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    async def __del__(self) -> None:
        await asyncio.sleep(0)
        mark(f"unloaded {self.name}")


@serve.deployment(user_config={"greeting": "from the code"})
class SyncBorn:
    def __init__(self, word: str) -> None:
        self.word = word
        self.config: dict[str, Any] = {}

    def reconfigure(self, config: dict[str, Any]) -> None:
        if config.get("greeting") == "refused":
            raise ValueError("no such greeting")
        self.config = config

    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str) -> Model:
        return Model(model_id)

    async def __call__(self, request: Request) -> dict[str, Any]:
        model = serve.get_multiplexed_model_id()
        if model:
            await self.get_model(model)
        return {"pid": os.getpid(), "word": self.word, "config": self.config}

    def __del__(self) -> None:
        mark("sync deleted")


@serve.deployment
class AsyncBorn:
    async def __init__(self, word: str) -> None:
        await asyncio.sleep(0)
        self.word = word

    def __call__(self) -> str:
        return self.word

    async def __del__(self) -> None:
        await asyncio.sleep(0)
        mark("async deleted")


@serve.deployment(num_replicas=2, max_ongoing_requests=2, max_queued_requests=1, user_config={"limit": 1})
class Limited:
    """Its options are for the YAML to override; ``peak`` is how many requests it has seen at once."""

    def __init__(self) -> None:
        self.running = self.peak = 0
        self.config: Any = None

    def reconfigure(self, config: Any) -> None:
        self.config = config

    async def __call__(self, request: Request) -> dict[str, Any]:
        if request.url.path == "/limited/config":
            return {"config": self.config, "pid": os.getpid()}
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            async with asyncio.timeout(20):
                while "go" not in MARKS.read_text().split("\n"):  # noqa: ASYNC110 (another process writes it)
                    await asyncio.sleep(0.01)
        finally:
            self.running -= 1
        return {"peak": self.peak}


sync_born = SyncBorn.bind("one")
async_born = AsyncBorn.bind("two")
limited = Limited.bind()
