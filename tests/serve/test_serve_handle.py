"""Handles and responses: awaiting, threads, streams, arguments, cancellation, cycles, deadlines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from runtime.errors import CallCancelled, CallCycle, CallTimeout
from runtime.serve.context import replica_scope
from runtime.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator
from tests.serve.fakes import FakeReplica, FakeTransport, in_task, request, until

pytestmark = pytest.mark.anyio


class Backend:
    """The deployment ``Model`` behind the handle."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = 0
        self.transport = FakeTransport({
            ("Model", "__call__"): self.double,
            ("Model", "add"): self.add,
            ("Model", "fail"): self.fail,
            ("Model", "wait"): self.wait,
            ("Model", "count"): self.count,
            ("Model", "endless"): self.endless,
        })  # fmt: skip
        self.handle = DeploymentHandle("Model", transport=self.transport)

    async def double(self, x: int) -> int:
        return 2 * x

    async def add(self, x: int, y: int = 0) -> int:
        return x + y

    async def fail(self) -> None:
        raise KeyError("missing")

    async def wait(self) -> str:
        self.started += 1
        await self.gate.wait()
        return "done"

    async def count(self, n: int, fail: bool = False) -> AsyncIterator[int]:
        for i in range(n):
            yield i
        if fail:
            raise KeyError("in the middle")

    async def endless(self) -> AsyncIterator[int]:
        yield 0
        self.started += 1
        await self.gate.wait()


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


class TestCalling:
    async def test_awaiting(self) -> None:
        handle = Backend().handle
        response = handle.remote(3)
        assert isinstance(response, DeploymentResponse)
        assert await response == 6
        assert await response == 6
        assert await handle.add.remote(1, y=2) == 3
        assert await handle.options(method_name="add").remote(1) == 1

    async def test_the_call_starts_before_it_is_awaited(self) -> None:
        backend = Backend()
        response = backend.handle.wait.remote()
        await until(lambda: backend.started == 1)
        backend.gate.set()
        assert await response == "done"

    async def test_options_change_a_copy_and_each_hop_names_its_own_model(self) -> None:
        backend = Backend()
        with request("outer"):
            await backend.handle.remote(1)
            await backend.handle.options(multiplexed_model_id="3").add.remote(1)
            await backend.handle.add.options(multiplexed_model_id="4").remote(1)
        assert [(method, model) for _, method, model, _ in backend.transport.seen] == [
            ("__call__", ""), ("add", "3"), ("add", "4"),
        ]  # fmt: skip

    async def test_an_exception_is_raised_as_it_is(self) -> None:
        with pytest.raises(KeyError, match="missing"):
            await Backend().handle.fail.remote()

    async def test_a_failed_response_that_nobody_awaits_is_silent(self) -> None:
        backend = Backend()
        response = backend.handle.fail.remote()
        await until(lambda: response._work.done())

    async def test_in_a_replica_the_transport_is_the_replicas(self) -> None:
        backend = Backend()
        handle = pickle.loads(pickle.dumps(DeploymentHandle("Model").add))
        with replica_scope(FakeReplica(Backend, transport=backend.transport)):
            assert await handle.remote(1, 2) == 3
        with pytest.raises(RuntimeError, match="outside a replica"):
            handle.remote(1, 2)

    async def test_responses_as_arguments_are_resolved(self) -> None:
        handle = Backend().handle
        assert await handle.add.remote(handle.remote(3), y=handle.remote(handle.remote(1))) == 10

    async def test_a_response_inside_a_list_cannot_be_sent(self) -> None:
        response = Backend().handle.remote(1)
        with pytest.raises(TypeError, match="argument of its own"):
            pickle.dumps([response])
        await response

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"session_id": "x"}, "stick to replicas by model"), ({"_prefer_local_routing": True}, "places every call"),
            ({"method": "x"}, "did you mean 'method_name'"), ({"zzz": 1}, "the options are"),
            ({"multiplexed_model_id": 3}, "must be of type str"), ({"stream": 1}, "must be of type bool"),
        ],
    )  # fmt: skip
    async def test_wrong_options_are_type_errors(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=message):
            DeploymentHandle("Model").options(**options)

    def test_handles_are_values(self) -> None:
        handle = DeploymentHandle("Model", "shop")
        assert handle == DeploymentHandle("Model", "shop")
        assert handle.add != handle
        assert hash(handle) == hash(DeploymentHandle("Model", "shop"))
        assert repr(handle.add) == "DeploymentHandle('Model'.add, app_name='shop')"
        with pytest.raises(AttributeError):
            _ = handle._private


class TestThreads:
    async def test_result_in_the_thread_of_a_sync_handler(self) -> None:
        backend = Backend()
        with request("m", "r1"):
            assert await in_thread(lambda: backend.handle.remote(4).result()) == 8
            with pytest.raises(KeyError):
                await in_thread(lambda: backend.handle.fail.remote().result())

    async def test_result_times_out_and_the_call_goes_on(self) -> None:
        backend = Backend()

        def call() -> str:
            response = backend.handle.wait.remote()
            with pytest.raises(TimeoutError, match="no result within"):
                response.result(timeout_s=0)
            backend.transport.loop.call_soon_threadsafe(backend.gate.set)
            return response.result(timeout_s=5)

        assert await in_thread(call) == "done"

    async def test_result_on_the_loop_would_block_for_ever(self) -> None:
        response = Backend().handle.remote(1)
        with pytest.raises(RuntimeError, match="await"):
            response.result()
        assert await response == 2

    async def test_a_response_made_on_the_loop_can_be_waited_for_in_a_thread(self) -> None:
        response = Backend().handle.remote(1)
        assert await in_thread(lambda: response.result(timeout_s=5)) == 2

    async def test_awaiting_from_another_loop(self) -> None:
        handle = Backend().handle

        async def elsewhere() -> tuple[int, list[int]]:
            items = handle.options(stream=True).count.remote(3)
            return await handle.remote(5), [item async for item in items]

        assert await in_thread(lambda: asyncio.run(elsewhere())) == (10, [0, 1, 2])
        made_here = handle.remote(6)

        async def wait_there() -> int:
            return await made_here

        assert await in_thread(lambda: asyncio.run(wait_there())) == 12

    async def test_cancelling_from_a_thread(self) -> None:
        backend = Backend()

        def call() -> None:
            response = backend.handle.wait.remote()
            begun = asyncio.run_coroutine_threadsafe(until(lambda: backend.started == 1), backend.transport.loop)
            begun.result()
            response.cancel()
            with pytest.raises(CallCancelled):
                response.result(timeout_s=5)

        await in_thread(call)
        await until(lambda: backend.transport.cancelled == ["wait"])


class TestStreams:
    async def test_async_for(self) -> None:
        items = Backend().handle.options(stream=True).count.remote(3)
        assert isinstance(items, DeploymentResponseGenerator)
        assert [item async for item in items] == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    async def test_for_in_a_thread(self) -> None:
        handle = Backend().handle.options(stream=True)
        assert await in_thread(lambda: list(handle.count.remote(3))) == [0, 1, 2]
        assert await in_thread(lambda: list(handle.count.remote(0))) == []

    async def test_an_exception_comes_after_the_items(self) -> None:
        items = Backend().handle.options(stream=True).count.remote(2, fail=True)
        assert [await anext(items), await anext(items)] == [0, 1]
        with pytest.raises(KeyError):
            await anext(items)

    async def test_cancel_between_items_and_while_waiting(self) -> None:
        backend = Backend()
        stream = backend.handle.options(stream=True)
        items = stream.count.remote(5)
        assert await anext(items) == 0
        items.cancel()
        assert items.cancelled()
        with pytest.raises(CallCancelled):
            await anext(items)
        await until(lambda: backend.transport.cancelled == ["count"])
        waiting = stream.endless.remote()
        assert await anext(waiting) == 0
        reader = asyncio.ensure_future(anext(waiting))
        await until(lambda: backend.started == 1)
        waiting.cancel()
        with pytest.raises(CallCancelled):
            await reader
        await until(lambda: backend.transport.cancelled == ["count", "endless"])

    async def test_a_reader_that_is_cancelled_gives_the_call_up(self) -> None:
        backend = Backend()
        items = backend.handle.options(stream=True).endless.remote()
        assert await anext(items) == 0
        reader = asyncio.ensure_future(anext(items))
        await until(lambda: backend.started == 1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await until(lambda: backend.transport.cancelled == ["endless"])
        with pytest.raises(CallCancelled):  # an end would look as if that had been all
            await anext(items)

    async def test_several_readers_share_the_items(self) -> None:
        backend = Backend()
        items = backend.handle.options(stream=True).count.remote(60)
        got: list[int] = []

        async def read() -> None:
            async for item in items:
                got.append(item)
                await asyncio.sleep(0)

        await asyncio.gather(read(), read(), read())
        assert sorted(got) == list(range(60))
        items = backend.handle.options(stream=True).count.remote(60)
        parts = await asyncio.gather(*(in_thread(lambda: list(items)) for _ in range(3)))
        assert sorted(item for part in parts for item in part) == list(range(60))

    async def test_a_failure_reaches_every_reader(self) -> None:
        items = Backend().handle.options(stream=True).count.remote(3, fail=True)

        async def read() -> list[int]:
            return [item async for item in items]

        ends = await asyncio.gather(read(), read(), in_thread(lambda: list(items)), return_exceptions=True)
        assert [type(end) for end in ends] == [KeyError] * 3

    async def test_a_reader_that_breaks_off_gives_the_call_up(self) -> None:
        backend = Backend()
        stream = backend.handle.options(stream=True)
        with request("", "r") as context:
            async for item in stream.endless.remote():
                assert item == 0
                break
            await until(lambda: backend.transport.cancelled == ["endless"])
            assert len(context.calls) == 0

        def first_two() -> list[int]:
            return [item for item, _ in zip(stream.count.remote(9), range(2), strict=False)]

        assert await in_thread(first_two) == [0, 1]
        await until(lambda: backend.transport.cancelled == ["endless", "count"])

    async def test_it_is_not_awaited_iterated_on_the_loop_or_sent(self) -> None:
        items = Backend().handle.options(stream=True).count.remote(1)
        with pytest.raises(TypeError, match="async for"):
            await items
        with pytest.raises(RuntimeError, match="async for"):
            next(items)
        with pytest.raises(TypeError, match="cannot be sent"):
            pickle.dumps(items)
        assert [item async for item in items] == [0]


class TestCancellation:
    async def test_cancel_raises_call_cancelled_and_reaches_the_receiver(self) -> None:
        backend = Backend()
        response = backend.handle.wait.remote()
        await until(lambda: backend.started == 1)
        response.cancel()
        with pytest.raises(CallCancelled):
            await response
        assert response.cancelled()
        assert backend.transport.cancelled == ["wait"]

    @pytest.mark.parametrize("where", ["loop", "thread"])
    async def test_a_cancelled_call_leaves_the_responses_among_its_arguments_alone(self, where: str) -> None:
        backend = Backend()
        shared = backend.handle.wait.remote()
        make = backend.handle.wait.remote
        if where == "thread":
            shared = await in_thread(make)
        one, two = backend.handle.remote(shared), backend.handle.remote(shared)
        if where == "thread":
            one = await in_thread(lambda: backend.handle.remote(shared))
        await until(lambda: backend.started >= 1)
        one.cancel()
        with pytest.raises(CallCancelled):
            await one
        backend.gate.set()
        assert await two == "donedone"
        assert await shared == "done"

    async def test_a_cancelled_awaiter_takes_its_call_along(self) -> None:
        backend = Backend()

        async def handler() -> str:
            return await backend.handle.wait.remote()

        task = in_task("", "r", handler)
        await until(lambda: backend.started == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.transport.cancelled == ["wait"]

    async def test_a_cancelled_request_takes_all_its_calls_along_awaited_or_not(self) -> None:
        backend = Backend()
        with request("", "r") as context:
            responses = [backend.handle.wait.remote() for _ in range(2)]
            items = backend.handle.options(stream=True).endless.remote()
            await until(lambda: backend.started == 2)
            assert len(context.calls) == 3
            context.calls.cancel()
            with pytest.raises(CallCancelled):
                await responses[0]
            late = backend.handle.wait.remote()
            with pytest.raises(CallCancelled):
                await late
        await until(lambda: sorted(backend.transport.cancelled) == ["endless", "wait", "wait"])
        assert len(context.calls) == 0
        del items

    async def test_the_sync_handler_of_a_cancelled_request_is_let_go(self) -> None:
        backend = Backend()
        with request("", "r") as context:
            waiting = asyncio.ensure_future(in_thread(lambda: backend.handle.wait.remote().result()))
            await until(lambda: backend.started == 1)
            context.calls.cancel()
            with pytest.raises(CallCancelled):
                await waiting

    async def test_an_ended_call_is_forgotten(self) -> None:
        backend = Backend()
        with request("", "r") as context:
            await backend.handle.remote(1)
            assert [item async for item in backend.handle.options(stream=True).count.remote(1)] == [0]
            assert len(context.calls) == 0


class TestCyclesAndDeadlines:
    async def test_a_deployment_that_waits_already_is_not_called_again(self) -> None:
        handle = Backend().handle
        with (
            request("", "r", chain=("Front", "Model", "Other")),
            pytest.raises(CallCycle, match="Model → Other → Model"),
        ):
            await handle.remote(1)
        with request("", "r", chain=("Front", "Other")):
            assert await handle.remote(1) == 2

    async def test_calls_inherit_what_is_left_of_the_time(self) -> None:
        backend = Backend()
        with request("", "r", deadline=time.monotonic() + 60):
            await backend.handle.remote(1)
        [(_, _, _, timeout_s)] = backend.transport.seen
        assert timeout_s is not None
        assert 50 < timeout_s <= 60
        with request("", "r", deadline=time.monotonic() - 1), pytest.raises(CallTimeout):
            await backend.handle.remote(1)

    def test_a_call_timeout_is_a_timeout_error(self) -> None:
        error = CallTimeout("late", hint="wait longer")
        assert isinstance(error, TimeoutError)
        assert (str(error), error.status, error.code) == ("late", 408, "request_timeout")
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.hint) == ("late", "wait longer")
        assert concurrent.futures.TimeoutError is TimeoutError


class AtOnce(FakeTransport):
    """Starts calls without a task, as a transport does whose link stands."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__({("Model", "add"): self.add})
        self.error = error
        self.futures: list[asyncio.Future[object]] = []

    def start(self, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.futures.append(self.loop.create_future())
        return self.futures[-1]

    async def add(self, x: int, y: int) -> int:
        return x + y


class TestStartedAtOnce:
    async def test_the_call_is_on_its_way_when_remote_returns(self) -> None:
        transport = AtOnce()
        response = DeploymentHandle("Model", transport=transport).remote(1)
        [future] = transport.futures
        future.set_result(2)
        assert await response == await response == 2
        assert await asyncio.to_thread(response.result, 5) == 2

    @pytest.mark.parametrize(("error", "raised"), [(ValueError("no"), ValueError), (StopIteration(), RuntimeError)])
    async def test_what_keeps_it_from_starting_is_raised_to_who_waits(
        self, error: Exception, raised: type[Exception]
    ) -> None:
        response = DeploymentHandle("Model", transport=AtOnce(error)).remote(1)
        with pytest.raises(raised):
            await response

    async def test_giving_it_up_cancels_the_future(self) -> None:
        transport = AtOnce()
        response = DeploymentHandle("Model", transport=transport).remote(1)
        await asyncio.to_thread(response.cancel)
        with pytest.raises(CallCancelled):
            await response
        assert transport.futures[0].cancelled()

    async def test_responses_among_the_arguments_are_awaited_first(self) -> None:
        transport = AtOnce()
        handle = DeploymentHandle("Model", transport=transport)
        first = handle.remote(1)
        second = handle.add.remote(first, y=3)
        transport.futures[0].set_result(4)
        assert await second == 7
        assert len(transport.futures) == 1
