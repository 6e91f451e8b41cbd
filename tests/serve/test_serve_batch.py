"""``@serve.batch``: batches of one model, failures and departures, streams, sizes."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from runtime import serve
from runtime.serve.batch_queue import _ModelQueue
from runtime.serve.batching import BatchDecorator, find_batches
from runtime.serve.context import OpenCalls, replica_scope, request_context
from tests.serve.fakes import FakeReplica, in_task, until

pytestmark = pytest.mark.anyio

LONG_S = 60.0  # a wait that no test sees the end of


_none = _ModelQueue()


class Batches:
    """Notes what each batch was given; ``gate`` holds batches back."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.005)
    async def double(self, items: list[int]) -> list[int]:
        """Double."""
        self.seen.append((serve.get_multiplexed_model_id(), items))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if -1 in items:
            raise ValueError("poisoned")
        return [2 * item for item in items]

    @serve.batch(max_batch_size=2, batch_wait_timeout_s=LONG_S)
    async def pair(self, items: list[int]) -> list[int]:
        self.seen.append((serve.get_multiplexed_model_id(), items))
        return items

    @property
    def sizes(self) -> list[int]:
        return [len(items) for _, items in self.seen]


async def each(owner: Batches, items: list[int]) -> list[int]:
    return list(await asyncio.gather(*(owner.double(item) for item in items)))


class TestForming:
    async def test_a_full_batch_starts_at_once_and_results_go_to_their_callers(self) -> None:
        owner = Batches()
        assert await asyncio.gather(*(owner.pair(n) for n in range(4))) == [0, 1, 2, 3]
        assert owner.sizes == [2, 2]

    async def test_a_partial_batch_starts_when_its_first_member_has_waited_long_enough(self) -> None:
        owner = Batches()
        started = time.monotonic()
        assert await owner.double(3) == 6
        assert time.monotonic() - started >= 0.004
        assert owner.sizes == [1]

    async def test_members_of_different_models_never_share_a_batch_and_see_their_id(self) -> None:
        owner = Batches()
        calls = [in_task(str(n % 3), str(n), lambda n=n: owner.double(n)) for n in range(12)]
        assert await asyncio.gather(*calls) == [2 * n for n in range(12)]
        assert sorted(model for model, _ in owner.seen) == ["0", "1", "2"]
        for model, items in owner.seen:
            assert [item % 3 for item in items] == [int(model)] * 4

    async def test_with_eight_interleaved_models_batches_are_as_full_as_with_one(self) -> None:
        async def mean_size(models: int) -> float:
            owner = Batches()

            async def client(n: int) -> None:
                for _ in range(6):
                    await in_task(str(n % models), str(n), lambda: owner.double(n))

            await asyncio.gather(*(client(n) for n in range(32)))
            return sum(owner.sizes) / len(owner.sizes)

        assert await mean_size(8) >= 0.9 * await mean_size(1)

    async def test_while_a_batch_runs_the_others_fill(self) -> None:
        owner = Batches()
        owner.gate.clear()
        first = asyncio.ensure_future(owner.double(0))
        await until(lambda: owner.sizes == [1])
        rest = [asyncio.ensure_future(owner.double(n)) for n in range(1, 9)]
        await until(lambda: len(vars(owner)["__mux_batch_Batches.double"]._queues.get("", _none).waiting) == 8)
        owner.gate.set()
        await asyncio.gather(first, *rest)
        assert owner.sizes == [1, 4, 4]

    async def test_a_partial_batch_is_not_passed_over_for_ever(self) -> None:
        owner = Batches()
        owner.gate.clear()
        busy = [in_task("hot", "h", lambda n=n: owner.double(n)) for n in range(4)]
        await until(lambda: owner.sizes == [4])
        lone = in_task("cold", "c", lambda: owner.double(99))
        queue = vars(owner)["__mux_batch_Batches.double"]
        await until(lambda: "cold" in queue._queues)
        queue.settings.batch_wait_timeout_s = 0.0
        more = [in_task("hot", "h", lambda n=n: owner.double(n)) for n in range(24)]
        await until(lambda: "hot" in queue._queues and len(queue._queues["hot"].waiting) == 24)
        owner.gate.set()
        await asyncio.gather(lone, *busy, *more)
        assert [model for model, _ in owner.seen].index("cold") == 3

    async def test_several_batches_at_once(self) -> None:
        running: list[int] = []
        gate = asyncio.Event()

        @serve.batch(max_batch_size=1, max_concurrent_batches=2)
        async def work(items: list[int]) -> list[int]:
            running.extend(items)
            await gate.wait()
            return items

        calls = [asyncio.ensure_future(work(n)) for n in range(3)]
        await until(lambda: len(running) == 2)
        assert running == [0, 1]
        gate.set()
        assert await asyncio.gather(*calls) == [0, 1, 2]

    async def test_a_size_function_measures_batches(self) -> None:
        sizes: list[list[str]] = []

        @serve.batch(max_batch_size=5, batch_wait_timeout_s=0.005, batch_size_fn=lambda items: sum(map(len, items)))
        async def work(items: list[str]) -> list[int]:
            sizes.append(items)
            return [len(item) for item in items]

        words = ["aa", "bb", "cc", "too long", "d"]
        assert await asyncio.gather(*map(work, words)) == [2, 2, 2, 8, 1]
        assert sizes == [["aa", "bb"], ["cc"], ["too long"], ["d"]]

    async def test_several_parameters_keywords_and_defaults(self) -> None:
        @serve.batch(batch_wait_timeout_s=0)
        async def add(left: list[int], right: list[int], scale: list[int] | int = 1) -> list[int]:
            return [a + b for a, b in zip(left, right, strict=True)]

        assert await asyncio.gather(add(1, 2), add(3, right=4)) == [3, 7]
        with pytest.raises(TypeError, match="missing a required argument"):
            await add(1)

    async def test_each_instance_has_its_own_queue_and_sizes(self) -> None:
        one, two = Batches(), Batches()
        one.double.set_max_batch_size(2)
        one.double.set_batch_wait_timeout_s(0.0)
        await asyncio.gather(each(one, [1, 2, 3, 4]), each(two, [1, 2, 3, 4]))
        assert one.sizes == [2, 2]
        assert two.sizes == [4]
        assert Batches.double.max_batch_size == 4

    async def test_a_function_changes_its_own_settings(self) -> None:
        sizes: list[int] = []

        @serve.batch
        async def work(items: list[int]) -> list[int]:
            sizes.append(len(items))
            return items

        work.set_max_batch_size(3.0)  # type: ignore[arg-type]  # from a user_config in JSON
        work.set_batch_wait_timeout_s(0)
        await asyncio.gather(*map(work, range(6)))
        assert sizes == [3, 3]

    async def test_a_method_below_another_decorator_batches_with_its_instance(self) -> None:
        def logged(function: Any) -> Any:
            @functools.wraps(function)
            async def call(*args: Any) -> Any:
                return await function(*args)

            return call

        class Scaled:
            scale = 3

            @logged
            @serve.batch(max_batch_size=2, batch_wait_timeout_s=30)
            async def times(self, xs: list[int]) -> list[int]:
                return [x * self.scale for x in xs]

        one = Scaled()
        assert await asyncio.gather(one.times(1), one.times(2)) == [3, 6]
        assert [batch.name for batch in find_batches(Scaled)] == ["times"]

    async def test_from_the_class_with_the_instance(self) -> None:
        owner = Batches()
        assert await Batches.double(owner, 4) == 8  # type: ignore[call-arg]
        assert Batches.double.__doc__ == "Double."

    async def test_they_are_found(self) -> None:
        assert [batch.name for batch in find_batches(Batches)] == ["double", "pair"]


class TestFailing:
    async def test_a_failing_batch_fails_its_own_members_only(self) -> None:
        owner = Batches()
        good = [in_task("good", "g", lambda: owner.double(1)) for _ in range(4)]
        bad = [in_task("bad", "b", lambda n=n: owner.double(n)) for n in (-1, 2, 3, 4)]
        results = await asyncio.gather(*good, *bad, return_exceptions=True)
        assert results[:4] == [2] * 4
        assert all(isinstance(result, ValueError) for result in results[4:])
        assert await owner.double(5) == 10

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            ([1], ValueError, "batch of 2 but returned 1 results"), (None, TypeError, "not NoneType"),
            ("ab", TypeError, "not str"), ({1: 1, 2: 2}, TypeError, "not dict"),
        ],
    )  # fmt: skip
    async def test_a_wrong_answer_is_a_clear_error(self, answer: Any, error: type[Exception], message: str) -> None:
        @serve.batch(max_batch_size=2)
        async def work(items: list[int]) -> Any:
            return answer

        for result in await asyncio.gather(work(1), work(2), return_exceptions=True):
            assert isinstance(result, error)
            assert message in str(result)

    async def test_arrays_are_answers(self) -> None:
        numpy = pytest.importorskip("numpy")

        @serve.batch(max_batch_size=2)
        async def work(items: list[int]) -> Any:
            return numpy.array(items) * 2

        assert await asyncio.gather(work(1), work(2)) == [2, 4]


class TestLeaving:
    async def test_a_member_that_is_cancelled_while_waiting_leaves(self) -> None:
        owner = Batches()
        gone = asyncio.ensure_future(owner.pair(1))
        queue = vars(owner)
        await until(lambda: "__mux_batch_Batches.pair" in queue)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert queue["__mux_batch_Batches.pair"]._queues == {}
        assert await asyncio.gather(owner.pair(2), owner.pair(3)) == [2, 3]
        assert owner.seen == [("", [2, 3])]

    async def test_the_others_of_a_running_batch_get_their_results(self) -> None:
        owner = Batches()
        owner.gate.clear()
        calls = [asyncio.ensure_future(owner.double(n)) for n in range(4)]
        await until(lambda: owner.sizes == [4])
        calls[0].cancel()
        await asyncio.gather(calls[0], return_exceptions=True)
        owner.gate.set()
        assert await asyncio.gather(*calls[1:]) == [2, 4, 6]
        assert owner.cancelled == 0

    async def test_a_batch_that_nobody_waits_for_is_cancelled(self) -> None:
        owner = Batches()
        owner.gate.clear()
        calls = [asyncio.ensure_future(owner.double(n)) for n in range(4)]
        await until(lambda: owner.sizes == [4])
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: owner.cancelled == 1)

    async def test_one_members_cancellation_leaves_the_batchs_own_calls_open(self) -> None:
        contexts: list[Any] = []
        gate = asyncio.Event()

        @serve.batch(max_batch_size=2)
        async def work(items: list[int]) -> list[int]:
            contexts.append(request_context.get())
            await gate.wait()
            return items

        calls = OpenCalls()
        first = in_task("m", "r1", lambda: work(1), calls=calls, deadline=10.0)
        second = in_task("m", "r2", lambda: work(2), deadline=20.0)
        await until(lambda: len(contexts) == 1)
        assert contexts[0].calls is not calls
        assert contexts[0].deadline == 20.0
        gate.set()
        assert await asyncio.gather(first, second) == [1, 2]


class Multiplexed:
    @serve.multiplexed
    async def get_model(self, model_id: str) -> str:
        if model_id == "broken":
            raise ValueError("cannot load")
        return f"model {model_id}"

    @serve.batch(max_batch_size=3, batch_wait_timeout_s=0.005)
    async def predict(self, items: list[int]) -> list[str]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return [f"{model}: {item}" for item in items]


class TestModels:
    async def test_the_model_of_a_batch_is_leased_to_every_member(self) -> None:
        owner, replica = Multiplexed(), FakeReplica(Multiplexed)
        with replica_scope(replica):
            calls = [in_task("a", f"r{n}", lambda n=n: owner.predict(n)) for n in range(3)]
            assert await asyncio.gather(*calls) == ["model a: 0", "model a: 1", "model a: 2"]
        assert sorted(replica.leases) == [("r0", 0, "a"), ("r1", 0, "a"), ("r2", 0, "a")]

    async def test_a_load_that_fails_fails_the_batch(self) -> None:
        owner = Multiplexed()
        with replica_scope(FakeReplica(Multiplexed)):
            calls = [in_task("broken", f"r{n}", lambda n=n: owner.predict(n)) for n in range(2)]
            for result in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(result, ValueError)


class Streams:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.closed = 0
        self.gate = asyncio.Event()

    @serve.batch(max_batch_size=3, batch_wait_timeout_s=0.005)
    async def count(self, limits: list[int]) -> AsyncGenerator[list[Any], None]:
        self.batches.append(limits)
        try:
            for n in range(max(limits)):
                if n == 7:
                    await self.gate.wait()
                if n == 9:
                    raise ValueError("nine")
                yield [n if n < limit else StopIteration for limit in limits]
        finally:
            self.closed += 1


async def read(items: Any) -> list[Any]:
    return [item async for item in items]


class TestStreaming:
    async def test_every_member_gets_its_own_items_and_its_own_end(self) -> None:
        owner = Streams()
        assert await asyncio.gather(*(read(owner.count(n)) for n in (1, 3, 2))) == [[0], [0, 1, 2], [0, 1]]
        assert owner.batches == [[1, 3, 2]]
        assert owner.closed == 1

    async def test_an_exception_comes_after_the_items_that_were_before_it(self) -> None:
        owner = Streams()
        owner.gate.set()
        short, long = owner.count(2), owner.count(20)
        seen: list[int] = []

        async def read_long() -> None:
            async for item in long:
                seen.append(item)

        results = await asyncio.gather(read(short), read_long(), return_exceptions=True)
        assert results[0] == [0, 1]
        assert isinstance(results[1], ValueError)
        assert seen == list(range(9))

    async def test_when_every_reader_has_left_the_generator_is_closed(self) -> None:
        owner = Streams()
        first, second = owner.count(20), owner.count(20)
        assert await asyncio.gather(anext(first), anext(second)) == [0, 0]
        await first.aclose()
        assert owner.closed == 0
        await second.aclose()
        await until(lambda: owner.closed == 1)


class TestDecorating:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"max_batch_size": 0}, ValueError), ({"max_batch_size": "3"}, TypeError),
            ({"max_batch_size": 2.5}, TypeError),
            ({"batch_wait_timeout_s": -1}, ValueError), ({"batch_wait_timeout_s": "1"}, TypeError),
            ({"max_concurrent_batches": 0}, ValueError), ({"batch_size_fn": 3}, TypeError),
        ],
    )  # fmt: skip
    def test_wrong_options(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            serve.batch(**options)

    def test_what_is_no_async_function(self) -> None:
        decorators: list[BatchDecorator | Any] = [serve.batch, serve.batch(max_batch_size=2)]
        for decorate in decorators:
            for wrong in (lambda items: items, Batches, "text"):
                with pytest.raises(TypeError):
                    decorate(wrong)

    async def test_a_class_with_slots_is_told(self) -> None:
        class Slotted:
            __slots__ = ()

            @serve.batch
            async def work(self, items: list[int]) -> list[int]:
                return items

        with pytest.raises(TypeError, match="__slots__"):
            Slotted().work(1)
