"""The test client: whole applications in this process, with the replica's own code and the real residency."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from runtime import serve
from runtime.errors import CallCycle, NoSuchThing, UserCodeError
from runtime.serve.exceptions import RemoteError
from runtime.serve.handle import DeploymentHandle


class Weights:
    """A model that notes its end."""

    def __init__(self, model_id: str, gone: list[str]) -> None:
        self.model_id = model_id
        self.gone = gone

    def __del__(self) -> None:
        self.gone.append(self.model_id)


@serve.deployment
class Model:
    def __init__(self, scale: int = 1) -> None:
        self.scale = scale
        self.gone: list[str] = []

    def reconfigure(self, user_config: dict[str, int]) -> None:
        self.scale = user_config["scale"]

    def check_health(self) -> None:
        if self.scale < 0:
            raise ValueError("negative")

    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str) -> Weights:
        if model_id == "broken":
            raise ValueError("cannot load")
        return Weights(model_id, self.gone)

    async def __call__(self, request: Request) -> dict[str, Any]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return {"model": model.model_id, "x": (await request.json())["x"] * self.scale}

    async def predict(self, x: int) -> str:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return f"{model.model_id}: {x * self.scale}"

    def predict_in_thread(self, x: int) -> tuple[str, str]:
        return serve.get_multiplexed_model_id(), threading.current_thread().name

    async def items(self, n: int) -> AsyncIterator[str]:
        for i in range(n):
            yield f"{serve.get_multiplexed_model_id()}{i}"

    def sync_items(self, n: int) -> Iterator[str]:
        for i in range(n):
            yield f"{serve.get_multiplexed_model_id()}{i}"

    def broken(self) -> None:
        raise KeyError("user code")


class TestOneDeployment:
    def test_requests_load_evict_and_hit(self) -> None:
        with serve.testing.client(Model) as client:
            for model_id in ("1", "2", "1", "3"):
                answer = client.request(model_id, json={"x": 2})
                assert answer.raise_for_status().json() == {"model": model_id, "x": 2}
            assert client.models.loads == ["1", "2", "3"]
            assert client.models.unloads == ["2"]
            assert sorted(client.models.resident) == ["1", "3"]
            assert client.models.hits == 1
            instance = client.instance()
            assert instance.gone == ["2"]
        assert sorted(instance.gone) == ["1", "2", "3"]
        assert sorted(client.models.unloads) == ["1", "2", "3"]

    def test_cache_says_how_the_model_came(self) -> None:
        with serve.testing.client(Model) as client:
            assert client.request("1", json={"x": 2}).cache == "load"
            assert client.request("1", json={"x": 2}).cache == "hit"

    def test_a_handle_calls_methods_from_threads_and_loops(self) -> None:
        with serve.testing.client(Model.bind(scale=3)) as client:
            handle = client.handle.options(multiplexed_model_id="7")
            assert handle.predict.remote(2).result(timeout_s=10) == "7: 6"

            async def on_a_loop() -> list[str]:
                return list(await asyncio.gather(*(handle.predict.remote(n) for n in range(2))))

            assert asyncio.run(on_a_loop()) == ["7: 0", "7: 3"]
            model_id, thread = handle.predict_in_thread.remote(1).result(timeout_s=10)
            assert model_id == "7"
            assert thread != threading.current_thread().name
            assert client.models.loads == ["7"]

    @pytest.mark.parametrize("method", ["items", "sync_items"])
    def test_streams(self, method: str) -> None:
        with serve.testing.client(Model) as client:
            stream = client.handle.options(stream=True, multiplexed_model_id="m", method_name=method)
            assert list(stream.remote(3)) == ["m0", "m1", "m2"]

    def test_exceptions_keep_their_type_and_traceback(self) -> None:
        with serve.testing.client(Model) as client:
            with pytest.raises(KeyError, match="user code") as caught:
                client.handle.broken.remote().result(timeout_s=10)
            assert isinstance(caught.value.__cause__, RemoteError)
            assert "in broken" in str(caught.value.__cause__)
            with pytest.raises(ValueError, match="cannot load"):
                client.handle.options(multiplexed_model_id="broken").predict.remote(1).result(timeout_s=10)
            answer = client.request("broken", json={"x": 1})
            assert answer.status == 500
            assert any("cannot load" in error for error in client.errors)
            with pytest.raises(UserCodeError, match="status 500"):
                answer.raise_for_status()
            assert client.models.failed[0] == "broken"

    def test_the_yaml_goes_before_the_code(self) -> None:
        config = {"Model": {"max_num_models_per_replica": 1, "user_config": {"scale": 5}, "preload": ["9"]}}
        with serve.testing.client(Model, config=config) as client:
            assert client.models.resident == ["9"]
            assert client.request("1", json={"x": 2}).json()["x"] == 10
            assert client.models.unloads == ["9"]
            client.reconfigure({"scale": -1})
            with pytest.raises(ValueError, match="negative"):
                client.check_health()
        with pytest.raises(NoSuchThing, match="Modle"), serve.testing.client(Model, config={"Modle": {}}):
            pass

    def test_a_victim_whose_cleanup_raises_fails_nobody_else(self) -> None:
        class Rude(Weights):
            def __del__(self) -> None:
                super().__del__()
                raise RuntimeError("I stay")

        gone: list[str] = []

        @serve.deployment
        class Host:
            @serve.multiplexed(max_num_models_per_replica=1)
            async def get_model(self, model_id: str) -> Rude:
                return Rude(model_id, gone)

            async def __call__(self) -> str:
                return (await self.get_model(serve.get_multiplexed_model_id())).model_id

        with serve.testing.client(Host) as client:
            assert [client.request(model_id).text for model_id in "abc"] == ["a", "b", "c"]
            assert gone == client.models.unloads == ["a", "b"]
            assert all("I stay" in error for error in client.errors)
        assert gone == ["a", "b", "c"]

    def test_a_request_that_asks_for_more_models_than_there_are_slots_is_told_what_to_do(self) -> None:
        @serve.deployment
        class Greedy:
            @serve.multiplexed(max_num_models_per_replica=2)
            async def get_model(self, model_id: str) -> str:
                return model_id

            async def __call__(self) -> list[str]:
                return [await self.get_model(model_id) for model_id in "abc"]

        with serve.testing.client(Greedy) as client:
            answer = client.request()
            assert (answer.status, answer.json()["error"]) == (503, "slot_deadlock")
            assert "max_num_models_per_replica" in answer.json()["hint"]

    def test_a_loader_can_say_that_there_is_no_such_model(self) -> None:
        @serve.deployment
        class Known:
            @serve.multiplexed
            async def get_model(self, model_id: str) -> str:
                raise serve.exceptions.ModelNotFound(f"no model {model_id}")

            async def __call__(self) -> str:
                return await self.get_model(serve.get_multiplexed_model_id())

        with serve.testing.client(Known) as client:
            answer = client.request("9")
            assert (answer.status, answer.json()["error"]) == (404, "model_not_found")
            assert answer.json()["message"] == "no model 9"
            assert client.errors == []

    def test_the_header_names_the_model_as_well(self) -> None:
        with serve.testing.client(Model) as client:
            for header in ("serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id"):
                assert client.request(json={"x": 1}, headers={header: "3"}).json()["model"] == "3"

    def test_a_user_config_that_is_empty_is_given_and_one_that_nobody_wrote_is_not(self) -> None:
        @serve.deployment
        class Told:
            def __init__(self) -> None:
                self.told: list[Any] = []

            def reconfigure(self, user_config: Any) -> None:
                self.told.append(user_config)

        for config, told in (({}, []), ({"user_config": {}}, [{}])):
            with serve.testing.client(Told, config={"Told": config}) as client:
                assert client.instance().told == told
        with serve.testing.client(Told.options(user_config=0)) as client:
            assert client.instance().told == [0]

    def test_a_constructor_that_raises_raises_here(self) -> None:
        @serve.deployment
        class Broken:
            def __init__(self) -> None:
                raise LookupError("no weights")

        with pytest.raises(LookupError, match="no weights"), serve.testing.client(Broken):
            pass

    def test_async_init_functions_and_plain_values(self) -> None:
        @serve.deployment
        class Slow:
            async def __init__(self) -> None:
                await asyncio.sleep(0)
                self.ready = True

            def __call__(self) -> str:
                return f"ready: {self.ready}"

        @serve.deployment
        async def predict(request: Request) -> JSONResponse:
            return JSONResponse([request.query_params["q"], request.headers["x-a"], request.method])

        with serve.testing.client(Slow) as client:
            assert client.request().text == "ready: True"
        with serve.testing.client(predict) as client:
            assert client.request(path="/a?q=5", headers={"X-A": "b"}).json() == ["5", "b", "GET"]

    def test_large_bodies_and_streamed_answers(self) -> None:
        @serve.deployment
        class Echo:
            async def __call__(self, request: Request) -> AsyncIterator[str]:
                yield f"{len(await request.body())} "
                yield "end"

        with serve.testing.client(Echo) as client:
            answer = client.request(data=b"x" * 3_000_000)
            assert answer.text == "3000000 end"
            assert answer.chunks == (b"3000000 ", b"end")


@serve.deployment
class Front:
    def __init__(self, model: DeploymentHandle, others: list[DeploymentHandle]) -> None:
        self.model = model
        self.others = others
        self.by_name: DeploymentHandle | None = None

    async def __call__(self, request: Request) -> list[str]:
        own_id = serve.get_multiplexed_model_id()
        named = await self.model.options(multiplexed_model_id="bar").predict.remote(1)
        inherited = await self.others[0].remote()
        return [own_id, named, inherited]

    async def itself(self) -> None:
        await serve.get_deployment_handle("Front").itself.remote()

    async def nested(self) -> str:
        return str(await self.others[0].add.remote(self.others[0].add.remote("a"), self.others[0].remote()))

    def in_thread(self) -> str:
        return str(self.model.options(multiplexed_model_id="t").predict.remote(2).result(timeout_s=10))

    async def forever(self) -> None:
        await self.others[0].forever.remote()


class Waiter:
    def __init__(self) -> None:
        self.state: list[str] = []

    def __call__(self) -> str:
        return f"inner id {serve.get_multiplexed_model_id()!r}"

    def add(self, a: str, b: str = "!") -> str:
        return f"{a}+{b}"

    async def forever(self) -> None:
        self.state.append("began")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.state.append("cancelled")
            raise


def composed() -> serve.Application:
    return Front.bind(Model.bind(), [serve.deployment(Waiter).bind()])


def wait_for(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


class TestComposition:
    def test_each_hop_names_its_own_model(self) -> None:
        with serve.testing.client(composed()) as client:
            assert client.request("foo").json() == ["foo", "bar: 1", "inner id ''"]
            assert client.models.loads == ["bar"]
            assert client.get_handle("Waiter").remote().result(timeout_s=10) == "inner id ''"
            with pytest.raises(NoSuchThing):
                client.get_handle("Nobody")

    def test_responses_as_arguments_and_sync_handlers(self) -> None:
        with serve.testing.client(composed()) as client:
            assert client.handle.nested.remote().result(timeout_s=10) == "a+!+inner id ''"
            assert client.handle.in_thread.remote().result(timeout_s=10) == "t: 2"

    def test_a_request_is_not_sent_on_and_the_error_says_what_to_send(self) -> None:
        @serve.deployment
        class Front:
            def __init__(self, model: DeploymentHandle) -> None:
                self.model = model

            async def __call__(self, request: Request) -> str:
                with pytest.raises(TypeError, match=r"cannot be sent to Model.__call__.*request.json\(\)"):
                    await self.model.remote(request)
                return "refused"

        with serve.testing.client(Front.bind(Model.bind())) as client:  # type: ignore[attr-defined]
            assert client.request().text == "refused"

    def test_a_cycle_at_call_time_is_refused(self) -> None:
        with serve.testing.client(composed()) as client, pytest.raises(CallCycle, match="Front → Front"):
            client.handle.itself.remote().result(timeout_s=10)

    def test_giving_up_cancels_the_whole_chain(self) -> None:
        with serve.testing.client(composed()) as client:
            state = client.instance("Waiter").state
            response = client.handle.forever.remote()
            wait_for(lambda: state == ["began"])
            response.cancel()
            wait_for(lambda: state == ["began", "cancelled"])

    def test_the_replica_context(self) -> None:
        @serve.deployment
        def who() -> list[str]:
            context = serve.get_replica_context()
            return [context.app_name, context.deployment, context.replica_id, context.replica_tag]

        with serve.testing.client(who, name="shop") as client:
            assert client.request().json() == ["shop", "who", "test", "shop_who#test"]


class TestIngressAndBatches:
    def test_a_fastapi_ingress_calls_a_model(self) -> None:
        app = FastAPI()

        @serve.deployment
        @serve.ingress(app)
        class Api:
            def __init__(self, model: DeploymentHandle) -> None:
                self.model = model

            @app.get("/predict/{model_id}")
            async def predict(self, model_id: str, x: int) -> str:
                return str(await self.model.options(multiplexed_model_id=model_id).predict.remote(x))

        with serve.testing.client(Api.bind(Model.bind())) as client:
            assert client.request(path="/predict/5?x=3").json() == "5: 3"
            assert client.request(path="/predict/5?x=no").status == 422
            assert client.request(path="/nowhere").status == 404

    def test_batches_form_per_model_with_their_models_leased(self) -> None:
        @serve.deployment
        class Batched:
            def __init__(self) -> None:
                self.batches: list[tuple[str, int]] = []

            @serve.multiplexed(max_num_models_per_replica=2)
            async def get_model(self, model_id: str) -> str:
                return f"model {model_id}"

            @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.05)
            async def predict(self, items: list[int]) -> list[str]:
                model = await self.get_model(serve.get_multiplexed_model_id())
                self.batches.append((serve.get_multiplexed_model_id(), len(items)))
                return [f"{model}: {item}" for item in items]

            async def __call__(self, x: int) -> str:
                return await self.predict(x)

        with serve.testing.client(Batched) as client:
            responses = [client.handle.options(multiplexed_model_id=str(n % 2)).remote(n) for n in range(16)]
            assert [r.result(timeout_s=10) for r in responses] == [f"model {n % 2}: {n}" for n in range(16)]
            assert sorted(client.instance().batches) == [("0", 4), ("0", 4), ("1", 4), ("1", 4)]
            assert sorted(client.models.loads) == ["0", "1"]


@serve.deployment(max_ongoing_requests=50)
class Careless:
    """Fills the same array for every answer, and ends the process it is in, or means to."""

    def __init__(self) -> None:
        self.array = bytearray(2**21)

    async def filled(self, number: int) -> pickle.PickleBuffer:
        self.array[:] = bytes([number]) * len(self.array)
        return pickle.PickleBuffer(self.array)

    async def exit(self) -> None:
        sys.exit(3)

    def exit_in_thread(self) -> None:
        sys.exit(3)

    @serve.batch(max_batch_size=2, batch_wait_timeout_s=0)
    async def exit_in_batch(self, items: list[int]) -> list[int]:
        sys.exit(3)

    async def odd(self) -> Any:
        return lambda: 1


def test_a_result_is_what_it_was_when_the_method_returned() -> None:
    with serve.testing.client(Careless.bind()) as client:
        responses = [client.handle.filled.remote(number) for number in range(1, 6)]
        seen = [set(bytes(response.result(timeout_s=20))) for response in responses]
    assert seen == [{number} for number in range(1, 6)]


@pytest.mark.parametrize("method", ["exit", "exit_in_thread"])
def test_an_exit_of_the_callee_is_an_error_of_its_own_for_the_caller(method: str) -> None:
    with serve.testing.client(Careless.bind()) as client:
        with pytest.raises(UserCodeError, match="SystemExit: 3") as caught:
            getattr(client.handle, method).remote().result(timeout_s=20)
        assert "sys.exit(3)" in str(caught.value.__cause__)
        assert client.handle.filled.remote(1).result(timeout_s=20)


def test_an_exit_in_a_batch_fails_the_batch_only() -> None:
    with serve.testing.client(Careless.bind()) as client:
        with pytest.raises(RuntimeError, match=r"exit_in_batch raised SystemExit\(3\)"):
            client.handle.exit_in_batch.remote(1).result(timeout_s=20)
        assert client.handle.filled.remote(1).result(timeout_s=20)


def test_a_result_that_cannot_be_pickled_says_whose_it_is() -> None:
    with serve.testing.client(Careless.bind()) as client:
        with pytest.raises(AttributeError) as caught:
            client.handle.odd.remote().result(timeout_s=20)
        assert "while pickling a result of Careless.odd" in str(caught.value.__cause__)
