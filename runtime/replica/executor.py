"""The executor of user code: threads of our own, so that a sync handler never blocks the event loop.

asyncio's default pool is shared and small, and ``run_in_executor`` costs a Future, a lock and a loop wake-up per
call. Here results go through one deque and a burst of them wakes the loop once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")
_EXHAUSTED: Final = object()


class _Call:
    """One function on its way through a thread."""

    __slots__ = ("context", "error", "function", "future", "result", "returned")

    def __init__(self, function: Callable[[], Any], context: Context, future: asyncio.Future[Any]) -> None:
        self.function = function
        self.context = context
        self.future = future  # what the caller awaits; replaced when the caller is cancelled meanwhile
        self.returned = False  # the thread is done with it
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.context.run(self.function)
        except BaseException as exc:
            self.error = exc


class Executor:
    """At most ``threads`` daemon threads, started as they are needed."""

    def __init__(self, threads: int, name: str = "user") -> None:
        self._limit = max(1, threads)
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._done: deque[_Call] = deque()
        self._waking = False  # a wake-up of the loop is on its way
        self._threads = 0
        self._unfinished = 0  # calls handed in and not yet collected

    def __repr__(self) -> str:
        return f"<Executor {self._name} threads={self._threads}/{self._limit} unfinished={self._unfinished}>"

    @property
    def unfinished(self) -> int:
        """Calls that threads still run or that wait for a thread."""
        return self._unfinished

    async def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread, in the caller's context, and return what it returns.

        A cancelled caller gets its ``CancelledError`` when the thread has returned, not before: a thread cannot
        be stopped, and until then the request keeps its place and its models.
        """
        call = self._submit(function)
        cancelled: asyncio.CancelledError | None = None
        while not call.returned:
            try:
                await call.future
            except asyncio.CancelledError as exc:
                cancelled = exc
                call.future = self._loop.create_future()
        if cancelled is not None:
            raise cancelled
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    async def iterate(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Yield the items of a sync iterator, each taken in a thread; close it in a thread at the end."""
        try:
            while (item := await self.run(lambda: next(items, _EXHAUSTED))) is not _EXHAUSTED:
                yield cast("T", item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                await self.run(close)

    def resize(self, threads: int) -> None:
        """Allow ``threads`` threads; surplus ones end when they are next idle."""
        self._limit = max(1, threads)
        for _ in range(self._threads - self._limit):
            self._work.put(None)
        self._threads = min(self._threads, self._limit)

    def close(self) -> None:
        """Let idle threads end. One that user code holds ends with the process."""
        for _ in range(self._threads):
            self._work.put(None)
        self._threads = 0

    def _submit(self, function: Callable[[], Any]) -> _Call:
        call = _Call(function, copy_context(), self._loop.create_future())
        self._unfinished += 1
        if self._threads < self._limit and self._unfinished > self._threads:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._work.put(call)
        return call

    def _serve(self) -> None:
        while (call := self._work.get()) is not None:
            call.run()
            self._done.append(call)
            if not self._waking:
                self._waking = True
                if self._loop.is_closed():
                    return
                self._loop.call_soon_threadsafe(self._collect)
            del call

    def _collect(self) -> None:
        self._waking = False  # before the deque is emptied: what is appended later wakes the loop again
        while self._done:
            call = self._done.popleft()
            self._unfinished -= 1
            call.returned = True
            if not call.future.done():
                call.future.set_result(None)


async def run_in_thread(function: Callable[[], T], name: str) -> T:
    """Run ``function`` in a daemon thread of its own: for loads, whose hanging must hold up nothing else.

    A cancelled caller leaves the thread behind, which ends with the process at the latest; its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    call = _Call(function, copy_context(), future)

    def returned() -> None:
        if not future.done():
            future.set_result(None)

    def work() -> None:
        call.run()
        if not loop.is_closed():
            loop.call_soon_threadsafe(returned)

    threading.Thread(target=work, name=name, daemon=True).start()
    await future
    if call.error is not None:
        raise call.error
    result: T = call.result
    return result
