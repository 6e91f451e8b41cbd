"""The executor of user code: contexts, errors, cancellation, bursts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from runtime.replica.executor import Executor, run_in_thread

pytestmark = pytest.mark.anyio
word: ContextVar[str] = ContextVar("word", default="")


async def test_runs_in_a_thread_and_in_the_callers_context() -> None:
    executor = Executor(2)
    word.set("here")
    thread, said = await executor.run(lambda: (threading.current_thread(), word.get()))
    assert (thread is threading.main_thread(), thread.daemon, said) == (False, True, "here")
    executor.close()


async def test_raises_what_the_function_raises() -> None:
    executor = Executor(1)
    with pytest.raises(ZeroDivisionError):
        await executor.run(lambda: 1 // 0)
    assert executor.unfinished == 0
    executor.close()


async def test_never_uses_more_threads_than_it_may() -> None:
    executor = Executor(2)
    seen: set[int] = set()
    barrier = threading.Barrier(2, timeout=10)

    def work() -> None:
        seen.add(threading.get_ident())
        barrier.wait()

    await asyncio.gather(*(executor.run(work) for _ in range(8)))
    assert len(seen) == 2
    executor.close()


async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    executor = Executor(1)
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(10)

    task = asyncio.create_task(executor.run(work))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.wait([task], timeout=0)
        assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    executor.close()


async def test_iterates_and_closes_in_threads() -> None:
    executor = Executor(1)
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(threading.current_thread() is threading.main_thread())

    iterator = executor.iterate(numbers())
    assert await anext(iterator) == 0
    await iterator.aclose()  # type: ignore[attr-defined]
    assert closed == [False]
    assert [item async for item in executor.iterate(numbers())] == [0, 1, 2, 3, 4]
    executor.close()


async def test_resizing_ends_surplus_threads() -> None:
    executor = Executor(3)
    barrier = threading.Barrier(3, timeout=10)
    await asyncio.gather(*(executor.run(barrier.wait) for _ in range(3)))
    executor.resize(1)
    assert await executor.run(lambda: 5) == 5
    assert "threads=1/1" in repr(executor)
    executor.close()


async def test_a_thread_of_its_own_carries_results_errors_and_context() -> None:
    word.set("there")
    assert await run_in_thread(word.get, "t") == "there"
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_in_thread(lambda: next(iter(())), "t")
