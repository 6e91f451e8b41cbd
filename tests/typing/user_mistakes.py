"""Mistakes that mypy must find: each line that ends in ``# error: <code>`` has one, and no other line has any."""

from __future__ import annotations

from runtime import serve
from runtime.serve.handle import DeploymentHandle


class Model:
    @serve.multiplexed
    async def get_model(self, model_id: str) -> bytes:
        return b""

    @serve.batch
    async def double(self, xs: list[int]) -> list[int]:
        return xs

    async def use(self) -> None:
        await self.get_model()  # error: call-arg
        await self.get_model(model_id="1")  # error: call-arg
        await self.get_model("1", "2")  # error: call-arg
        await self.get_model(1)  # error: arg-type
        (await self.get_model("1")).no_such_method()  # error: attr-defined
        await self.double("text")  # error: arg-type
        self.double.set_max_batch_size("3")  # error: arg-type


@serve.multiplexed  # error: arg-type
def sync(model_id: str) -> bytes:
    return b""


@serve.multiplexed  # error: arg-type
async def two(model_id: str, other: str, third: str) -> bytes:
    return b""


serve.multiplexed(max_num_models_per_replica="3")  # error: call-overload


@serve.deployment(num_replica=2)  # error: call-overload
class Misspelt: ...


def use(handle: DeploymentHandle) -> None:
    handle.options(multiplexed_model_id=3)  # error: call-overload
    handle.remote().no_such_method()  # error: attr-defined


@serve.deployment
def right() -> str:
    return ""


serve.run(right.bind(), logging_config={})  # error: arg-type
serve.start(proxy_location="EveryNode")  # error: arg-type
