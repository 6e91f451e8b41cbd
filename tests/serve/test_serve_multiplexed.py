"""``@serve.multiplexed``: every validation, always; a cache per loader; what the id of the request is where."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from runtime import serve
from runtime.serve.context import request_context
from runtime.serve.multiplexed import Multiplexed, find_loaders
from tests.serve.fakes import FakeReplica, in_task, replica_scope, request

pytestmark = pytest.mark.anyio


class Model:
    def __init__(self) -> None:
        self.loaded: list[str] = []

    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str) -> str:
        """Load one."""
        self.loaded.append(model_id)
        return f"model {model_id}"

    @serve.multiplexed
    async def get_tokenizer(self, model_id: str) -> str:
        return f"tokenizer {model_id}"


@serve.multiplexed(max_num_models_per_replica=-1)
async def load(model_id: str) -> str:
    return f"function {model_id}"


async def ask(loader: Any, *args: Any, **kwargs: Any) -> Any:
    return await loader(*args, **kwargs)


def bare(function: Any) -> Any:
    return serve.multiplexed(function)


def timed(function: Any) -> Any:
    """A decorator of the user's own."""

    @functools.wraps(function)
    async def call(*args: Any) -> Any:
        return await function(*args)

    return call


def with_options(function: Any) -> Any:
    return serve.multiplexed(max_num_models_per_replica=3)(function)


class TestDecorating:
    @pytest.mark.parametrize("value", ["3", 3.0, True, None, [3]])
    def test_a_cap_that_is_no_int_is_a_type_error(self, value: Any) -> None:
        with pytest.raises(TypeError, match="must be an integer"):
            serve.multiplexed(max_num_models_per_replica=value)

    @pytest.mark.parametrize("value", [0, -2])
    def test_a_cap_below_one_is_a_value_error(self, value: int) -> None:
        with pytest.raises(ValueError, match="1 or more, or -1"):
            serve.multiplexed(max_num_models_per_replica=value)

    def test_minus_one_is_unlimited_and_the_default_is_three(self) -> None:
        assert load.max_num_models == -1
        assert Model.get_tokenizer.max_num_models == 3
        assert Model.get_model.max_num_models == 2

    @pytest.mark.parametrize("decorate", [bare, with_options])
    def test_what_is_no_async_loader_of_one_id_is_a_type_error(self, decorate: Any) -> None:
        def sync(model_id: str) -> None: ...
        async def nothing() -> None: ...
        async def two(model_id: str, other: str) -> None: ...
        async def three(self: Any, model_id: str, other: str) -> None: ...
        async def any_number(*model_ids: str) -> None: ...
        async def by_keyword(*, model_id: str) -> None: ...

        class Class: ...

        for wrong in (sync, nothing, two, three, any_number, by_keyword, Class, "text", Model()):
            with pytest.raises(TypeError):
                decorate(wrong)

    @pytest.mark.parametrize("decorate", [bare, with_options])
    def test_a_method_without_an_id_is_a_type_error(self, decorate: Any) -> None:
        with pytest.raises(TypeError, match=r"exactly \(self, model_id\)"):

            class Wrong:
                @decorate
                async def get_model(self) -> None: ...

    def test_the_decorated_function_keeps_its_name_and_text(self) -> None:
        assert Model.get_model.__name__ == "get_model"
        assert Model.get_model.__doc__ == "Load one."


class TestCalling:
    async def test_by_position_from_a_method_a_class_and_a_function(self) -> None:
        model = Model()
        with replica_scope(FakeReplica(Model)):
            assert await model.get_model("1") == "model 1"
            assert await ask(Model.get_model, model, "1") == "model 1"
        with replica_scope(FakeReplica(use_function)):
            assert await load("1") == "function 1"
        assert model.loaded == ["1"]

    @pytest.mark.parametrize("loader", [Model().get_model, load])
    async def test_a_keyword_no_id_or_two_is_a_type_error(self, loader: Any) -> None:
        with replica_scope(FakeReplica(Model)):
            for args, kwargs in [((), {"model_id": "1"}), ((), {}), (("1", "2"), {}), ((3,), {}), ((None,), {})]:
                with pytest.raises(TypeError):
                    await ask(loader, *args, **kwargs)

    @pytest.mark.parametrize("loader", [Model().get_model, load])
    async def test_an_empty_id_is_a_value_error(self, loader: Any) -> None:
        with pytest.raises(ValueError, match="empty model id"):
            await ask(loader, "")

    @pytest.mark.parametrize("loader", [Model().get_model, load])
    async def test_outside_a_replica_is_a_runtime_error(self, loader: Any) -> None:
        with pytest.raises(RuntimeError, match="outside a replica"):
            await ask(loader, "1")


class TestLoaders:
    async def test_each_loader_has_a_cache_of_its_own_and_runs_itself(self) -> None:
        replica, model = FakeReplica(Model), Model()
        with replica_scope(replica):
            assert await model.get_model("1") == "model 1"
            assert await model.get_tokenizer("1") == "tokenizer 1"
        assert sorted(replica.caches) == [(0, "1"), (1, "1")]

    def test_they_are_found_in_definition_order_inherited_ones_first(self) -> None:
        class Child(Model):
            @serve.multiplexed
            async def get_adapter(self, model_id: str) -> str:
                return model_id

        assert [loader.name for loader in find_loaders(Child)] == ["get_model", "get_tokenizer", "get_adapter"]
        assert [loader.cache for loader in find_loaders(Child)] == [0, 1, 2]

    async def test_a_loader_that_overrides_another_may_call_it_without_a_second_cache(self) -> None:
        class Child(Model):
            @serve.multiplexed
            async def get_model(self, model_id: str) -> str:
                return "my " + await super().get_model(model_id)

        replica, child = FakeReplica(Child), Child()
        with replica_scope(replica):
            assert await child.get_model("1") == "my model 1"
        assert len(replica.loaders) == 2
        assert list(replica.caches) == [(0, "1")]

    async def test_a_loader_below_another_decorator_keeps_its_models(self) -> None:
        class Timed(Model):
            @timed
            @serve.multiplexed
            async def get_adapter(self, model_id: str) -> str:
                self.loaded.append(f"adapter {model_id}")
                return model_id

            @timed
            @serve.multiplexed
            async def get_model(self, model_id: str) -> str:
                return "my " + await super().get_model(model_id)

        replica, child = FakeReplica(Timed), Timed()
        with replica_scope(replica):
            for _ in range(2):
                assert await child.get_adapter("1") == "1"
                assert await child.get_model("1") == "my model 1"
        assert child.loaded == ["adapter 1", "1"]
        assert len(replica.loaders) == 3

    async def test_a_plain_method_that_overrides_a_loader_calls_it_with_its_cache(self) -> None:
        class Plain(Model):
            async def get_model(self, model_id: str) -> str:  # type: ignore[override]
                return "plain " + await super().get_model(model_id)

        child = Plain()
        with replica_scope(FakeReplica(Plain)):
            assert [await child.get_model("1"), await child.get_model("1")] == ["plain model 1"] * 2
        assert child.loaded == ["1"]

    async def test_a_loader_that_no_deployment_has_is_an_error_and_never_another_ones(self) -> None:
        @serve.multiplexed
        async def stray(model_id: str) -> str:
            return model_id

        with replica_scope(FakeReplica(Model)), pytest.raises(RuntimeError, match="outermost decorator"):
            await stray("1")

    async def test_two_deployments_of_one_process_number_an_inherited_loader_each_in_its_own_way(self) -> None:
        class Other:
            @serve.multiplexed
            async def get_other(self, model_id: str) -> str:
                return model_id

        class Both(Model, Other): ...

        replica = FakeReplica(Both)
        find_loaders(Model)
        both = Both()
        with replica_scope(replica):
            assert await both.get_tokenizer("1") == "tokenizer 1"
            assert await both.get_other("1") == "1"

    def test_a_function_deployment_has_the_loaders_that_its_code_names(self) -> None:
        assert find_loaders(use_function) == [load]
        assert find_loaders(use_through_another) == [load]
        assert find_loaders(use_nothing) == []
        assert find_loaders(UsesFunction) == [load]

    async def test_a_local_loader_is_found_in_the_closure(self) -> None:
        @serve.multiplexed
        async def local(model_id: str) -> str:
            return model_id

        async def handler() -> str:
            return await local("1")

        assert find_loaders(handler) == [local]
        with replica_scope(FakeReplica(handler)):
            assert await handler() == "1"

    def test_a_module_has_the_loaders_that_it_defines(self) -> None:
        import sys

        assert find_loaders(sys.modules[__name__]) == [load]

    async def test_load_runs_the_undecorated_function(self) -> None:
        model = Model()
        assert isinstance(Model.get_model, Multiplexed)
        assert await Model.get_model.load(model, "9") == "model 9"
        assert await load.load(None, "9") == "function 9"


async def use_function() -> str:
    return await load(serve.get_multiplexed_model_id())


async def use_through_another() -> str:
    return await use_function()


async def use_nothing() -> None: ...


class UsesFunction:
    async def __call__(self) -> str:
        return await load("1")


class TestModelId:
    async def test_without_a_request_it_is_empty(self) -> None:
        assert serve.get_multiplexed_model_id() == ""
        with request(""):
            assert serve.get_multiplexed_model_id() == ""

    async def test_in_the_request_and_in_tasks_it_starts(self) -> None:
        async def handler() -> list[str]:
            inner = asyncio.create_task(ask(async_id))
            return [serve.get_multiplexed_model_id(), await inner, *await asyncio.gather(async_id(), async_id())]

        answers = await asyncio.gather(in_task("a", "1", handler), in_task("b", "2", handler))
        assert answers == [["a"] * 4, ["b"] * 4]

    async def test_in_the_thread_of_a_sync_handler(self) -> None:
        with request("a"):
            assert await asyncio.to_thread(serve.get_multiplexed_model_id) == "a"
        found: list[str] = []
        bare_thread = threading.Thread(target=lambda: found.append(serve.get_multiplexed_model_id()))
        bare_thread.start()
        bare_thread.join()
        assert found == [""]

    async def test_in_a_stream(self) -> None:
        async def items() -> Any:
            for _ in range(2):
                yield serve.get_multiplexed_model_id()

        async def read() -> list[str]:
            return [item async for item in items()]

        assert await in_task("a", "1", read) == ["a", "a"]


async def async_id() -> str:
    return serve.get_multiplexed_model_id()


async def test_the_replica_context_is_an_error_outside_a_replica() -> None:
    with pytest.raises(RuntimeError, match="outside a replica"):
        serve.get_replica_context()
    with replica_scope(FakeReplica(Model, servable="it")):
        assert serve.get_replica_context().servable_object == "it"
    assert request_context.get() is None
