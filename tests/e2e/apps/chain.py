"""Front → middle → models: what composition promises, told by what the deployments write into ``$MARKS``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request

from runtime import serve
from runtime.errors import CallCycle, QueueFull
from runtime.serve.exceptions import RemoteError
from runtime.serve.handle import DeploymentHandle

MARKS = Path(os.environ["MARKS"])


def mark(word: str) -> None:
    with MARKS.open("a") as file:
        file.write(word + "\n")


async def marked(word: str) -> None:
    """Wait until a test has written ``word``."""
    async with asyncio.timeout(30):
        while word not in MARKS.read_text().split("\n"):  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.01)


class OutOfStock(Exception):
    """An exception of the user's own."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)
        self.article = article
        self.left = left


class Weights:
    """A model that says when it comes and goes."""

    def __init__(self, name: str) -> None:
        self.name = name
        mark(f"load {name}")

    def __del__(self) -> None:
        mark(f"del {self.name}")


@serve.deployment(max_ongoing_requests=8)
class Models:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str) -> Weights:
        return Weights(model_id)

    async def __call__(self, x: int = 0) -> dict[str, Any]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return {"model": model.name, "pid": os.getpid(), "x": x}

    def double(self, number: int) -> int:
        return 2 * number

    async def fail(self, article: str) -> None:
        raise OutOfStock(article, 3)

    async def count(self, n: int) -> AsyncIterator[str]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        for number in range(n):
            yield f"{model.name}{number}"

    def count_in_a_thread(self, n: int) -> Iterator[int]:
        yield from range(n)

    def total(self, array: Any) -> float:
        return float(array.sum())

    async def hang(self, name: str) -> None:
        mark(f"hang {name}")
        try:
            await asyncio.Event().wait()
        finally:
            mark(f"cancelled {name}")

    async def endless(self, name: str) -> AsyncIterator[int]:
        try:
            for number in range(10**9):
                yield number
                await asyncio.sleep(0)
        finally:
            mark(f"closed {name}")


@serve.deployment(max_ongoing_requests=1)
class Tight:
    """One slot, one place."""

    @serve.multiplexed(max_num_models_per_replica=1)
    async def get_model(self, model_id: str) -> Weights:
        return Weights(model_id)

    async def hold(self, until: str) -> AsyncIterator[str]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        mark(f"begin {model.name}")
        yield model.name
        await marked(until)
        mark(f"end {model.name}")
        yield model.name


@serve.deployment
class Middle:
    def __init__(self, models: DeploymentHandle) -> None:
        self.models = models

    async def hang(self, name: str) -> None:
        await self.models.hang.remote(name)

    async def back_to_front(self) -> None:
        await serve.get_deployment_handle("Front").remote()

    async def model_id(self) -> str:
        return serve.get_multiplexed_model_id()


@serve.deployment(max_ongoing_requests=32)
class Front:
    def __init__(self, models: DeploymentHandle, middle: DeploymentHandle, tight: DeploymentHandle) -> None:
        self.models = models
        self.middle = middle
        self.tight = tight

    async def __call__(self, request: Request) -> Any:
        words = [word for word in request.url.path.split("/") if word]
        return await getattr(self, words[0])(*words[1:])

    async def ask(self, model: str, x: str = "0") -> Any:
        return await self.models.options(multiplexed_model_id=model).remote(int(x))

    async def unnamed(self) -> Any:
        return {"own": serve.get_multiplexed_model_id(), "downstream": await self.middle.model_id.remote()}

    async def fail(self, article: str) -> Any:
        try:
            await self.models.fail.remote(article)
        except OutOfStock as exc:
            cause = exc.__cause__
            where = cause.where if isinstance(cause, RemoteError) else ""
            return {"article": exc.article, "left": exc.left, "where": where, "text": str(cause)}

    async def fail_uncaught(self, article: str) -> None:
        await self.models.fail.remote(article)

    async def hang(self, name: str) -> None:
        await self.middle.hang.remote(name)

    async def stream(self, model: str) -> Any:
        return self._relay(self.models.options(multiplexed_model_id=model, stream=True).count.remote(3))

    async def endless(self, name: str) -> Any:
        return self._relay(self.models.options(stream=True).endless.remote(name))

    async def _relay(self, items: Any) -> AsyncIterator[str]:
        async for item in items:
            yield f"{item}\n"

    async def hold(self, model: str, until: str) -> Any:
        return [each async for each in self.tight.options(multiplexed_model_id=model, stream=True).hold.remote(until)]

    async def hold_or_say_full(self, model: str, until: str) -> Any:
        try:
            return await self.hold(model, until)
        except QueueFull as exc:
            return {"full": exc.code, "retry_after_s": exc.retry_after_s}

    async def cycle(self) -> Any:
        try:
            await self.middle.back_to_front.remote()
        except CallCycle as exc:
            return {"cycle": exc.message}

    async def piped(self, model: str) -> Any:
        first = self.models.options(multiplexed_model_id=model).remote(5)
        return await serve.get_deployment_handle("Echo").remote(first)


@serve.deployment
def echo(value: Any) -> Any:
    return value


@serve.deployment
class Early:
    """Calls another deployment before it is ready itself."""

    async def __init__(self, models: DeploymentHandle) -> None:
        self.found = await models.double.remote(21)  # of no model: what is resident stays as the tests expect it

    async def __call__(self, request: Request) -> str:
        return str(self.found)


models = Models.bind()
app = Front.bind(models, Middle.bind(models), Tight.bind())
echo_app = echo.options(name="Echo").bind()
early = Early.bind(models)
