"""An application as a user types it. mypy --strict reads it; ``assert_type`` is what it must find.

mypy does not look at what a class decorator returns: where a class's ``bind`` is used, the deployment is made by a
call. Pyright reads the decorator form too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, assert_type

from runtime import serve
from runtime.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator


class Weights:
    def predict(self, x: float) -> float:
        return x


@serve.multiplexed
async def load(model_id: str) -> Weights:
    return Weights()


class Model:
    @serve.multiplexed(max_num_models_per_replica=3)
    async def get_model(self, model_id: str) -> Weights:
        return Weights()

    @serve.batch
    async def double(self, xs: list[int]) -> list[str]:
        return [str(x) for x in xs]

    @serve.batch(max_batch_size=4)
    async def stream(self, xs: list[int]) -> AsyncGenerator[list[bytes], None]:
        yield [b"" for _ in xs]

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.1)
    async def two(self, xs: list[int], ys: list[int]) -> list[int]:
        return xs

    def reconfigure(self, user_config: dict[str, float]) -> None: ...

    async def __call__(self, x: float) -> float:
        model = await self.get_model(serve.get_multiplexed_model_id())
        assert_type(model, Weights)
        assert_type(await load("1"), Weights)
        assert_type(await self.double(3), str)
        assert_type(self.stream(3), AsyncIterator[bytes])
        assert_type(await self.two(3, ys=4), Any)
        self.double.set_max_batch_size(3)
        return model.predict(x)


@serve.batch(max_batch_size=4)
async def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@serve.deployment
async def predict(x: float) -> float:
    return x


@serve.deployment(max_ongoing_requests=10)
def predict_in_thread(x: float) -> float:
    return x


async def use(handle: DeploymentHandle) -> None:
    assert_type(handle.remote(1), DeploymentResponse[Any])
    assert_type(handle.other.remote(1), DeploymentResponse[Any])
    named = handle.options(multiplexed_model_id="3")
    assert_type(named.remote(1), DeploymentResponse[Any])
    streaming = handle.options(stream=True)
    assert_type(streaming.remote(1), DeploymentResponseGenerator[Any])
    assert_type(streaming.items.options(method_name="x").remote(1), DeploymentResponseGenerator[Any])
    assert_type(await lengths("a"), int)


assert_type(serve.get_multiplexed_model_id(), str)
assert_type(predict.bind(), serve.Application)
assert_type(predict_in_thread.bind(), serve.Application)
model = serve.deployment(num_replicas=2, user_config={"threshold": 0.5})(Model)
assert_type(model, serve.Deployment[type[Model]])
assert_type(model.bind(), serve.Application)
assert_type(model.options(num_replicas=3), serve.Deployment[type[Model]])
assert_type(serve.get_deployment_handle("Model").remote(), DeploymentResponse[Any])
assert_type(serve.status().url, str)


def in_a_test() -> None:
    with serve.testing.client(model.bind()) as client:
        assert_type(client.request("3", json={"x": 1}).status, int)
        assert_type(client.models.loads, list[str])
        assert_type(client.handle.remote(1).result(timeout_s=1), Any)
