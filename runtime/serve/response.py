"""What a handle's call returns at once: a response to await, or a generator to iterate, in any thread or loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, cast

from runtime.errors import CallCancelled
from runtime.serve.context import OpenCalls

R = TypeVar("R")
T = TypeVar("T")
running_loop = asyncio._get_running_loop  # None where there is none: an exception less for each call


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of something in another thread: between two kinds of futures, exceptions lose their cause or kind."""

    value: T | None = None
    error: Exception | None = None

    def get(self) -> T:
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


async def _outcome(work: Awaitable[T]) -> Outcome[T]:
    try:
        return Outcome(await work)
    except Exception as exc:
        return Outcome(error=exc)


class DeploymentResponse(Generic[R]):
    """The result of a call, which has started already: ``await`` it, or ``.result()`` it from a thread.

    Cancelling a task that awaits it cancels the call. It may be passed as an argument of other handle calls, which then
    get its value, and leave it alone when they are cancelled.
    """

    def __init__(
        self,
        call: Callable[[], Coroutine[Any, Any, R]],
        loop: asyncio.AbstractEventLoop,
        *,
        start: Callable[[], asyncio.Future[Any] | None] | None = None,
        request_id: str,
        calls: OpenCalls | None = None,
    ) -> None:
        """Start ``call()`` on ``loop``. ``calls``: the open calls of the request that makes it.

        ``start``: asked first on ``loop``, does the same without a task where it can.
        """
        self.request_id = request_id
        self._loop = loop
        self._cancelled = False
        self._calls = calls
        self._thread = 0  # the loop's, where the call was made on it
        self._work: asyncio.Future[R] | concurrent.futures.Future[Outcome[R]]
        if running_loop() is loop:
            self._thread = threading.get_ident()
            self._work = _begun(start, loop) or loop.create_task(call())
        else:
            self._work = asyncio.run_coroutine_threadsafe(_outcome(call()), loop)
        if calls is not None:
            calls.add(self, self._stop)
        self._work.add_done_callback(self._ended)

    def __await__(self) -> Generator[Any, None, R]:
        return self._wait().__await__()

    def result(self, timeout_s: float | None = None) -> R:
        """Wait for the result, for scripts and sync handlers. Raises ``TimeoutError``, and what the call raised.

        The call goes on after a timeout. On an event loop it would block what it waits for: ``RuntimeError``.
        """
        if running_loop() is not None:
            raise RuntimeError("response.result() blocks, and this is an event loop: use `await response`")
        future = self._work
        if isinstance(future, asyncio.Future):
            future = asyncio.run_coroutine_threadsafe(_outcome(self._wait()), self._loop)
        try:
            outcome = future.result(timeout_s)
        except concurrent.futures.CancelledError:
            self._raise_cancelled()
        except TimeoutError:
            raise TimeoutError(f"no result within {timeout_s:g} s (request {self.request_id})") from None
        return outcome.get()

    def cancel(self) -> None:
        """Give the call up: its receiver is told, and waiting for the result raises ``CallCancelled``."""
        self._cancelled = True
        self._stop()

    def cancelled(self) -> bool:
        """Return whether ``cancel`` was called; the call may have ended before it."""
        return self._cancelled

    async def shared(self) -> R:
        """As awaiting it does, but whoever is cancelled meanwhile leaves the call to those who need it, too."""
        return await self._wait(shared=True)

    async def _wait(self, *, shared: bool = False) -> R:
        work = self._work
        if not isinstance(work, asyncio.Future):
            return (await self._settled(asyncio.wrap_future(work), shared)).get()
        if threading.get_ident() != self._thread:  # cheaper to ask for than the running loop
            there = asyncio.run_coroutine_threadsafe(_outcome(self._wait(shared=shared)), self._loop)
            return (await asyncio.wrap_future(there)).get()
        return await self._settled(work, shared)

    async def _settled(self, work: asyncio.Future[T], shared: bool) -> T:
        try:
            return await (asyncio.shield(work) if shared else work)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._cancelled or (current is not None and not current.cancelling()):
                self._raise_cancelled()  # the call was given up, not whoever waits for it
            raise

    def _raise_cancelled(self) -> NoReturn:
        raise CallCancelled(f"the call was cancelled (request {self.request_id})") from None

    def _stop(self) -> None:
        if self._thread and threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._work.cancel)
        else:
            self._work.cancel()

    def _ended(self, work: asyncio.Future[Any] | concurrent.futures.Future[Any]) -> None:
        if self._calls is not None:
            self._calls.discard(self)
        if not work.cancelled():
            work.exception()  # seen: a response that nobody waits for is not a fault of this process

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a DeploymentResponse cannot be sent: pass it to a handle call as an argument of its own "
            "(not inside a list or dict), or await it first"
        )


class DeploymentResponseGenerator(Generic[R]):
    """The items of a streaming call, which has started already: ``async for``, or ``for`` in a thread.

    The call ends when nobody is left who could read on: after a ``break``, say.
    """

    def __init__(
        self,
        open_stream: Callable[[], AsyncIterator[R]],
        loop: asyncio.AbstractEventLoop,
        *,
        request_id: str,
        calls: OpenCalls | None = None,
    ) -> None:
        """Ask for the first item on ``loop`` at once; the others as they are asked for."""
        self.request_id = request_id
        self._open_stream = open_stream
        self._loop = loop
        self._calls = calls
        self._items: AsyncIterator[R] | None = None
        self._step: asyncio.Task[R] | None = None  # asking for an item now
        self._closing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._turn = asyncio.Lock()  # of those who ask for an item, one after the other
        self._cancelled = False
        self._ended = False
        self._name = object()  # what ``calls`` knows it by: held there itself, it would never be given up
        if calls is not None:
            calls.add(self._name, _weakly(self._stop))
        if running_loop() is loop:
            self._begin()
        else:
            loop.call_soon_threadsafe(self._begin)

    def __del__(self) -> None:
        if not self._ended and not self._loop.is_closed():
            self._stop()

    def __aiter__(self) -> DeploymentResponseGenerator[R]:
        return self

    async def __anext__(self) -> R:
        if running_loop() is self._loop:
            return await self._next()
        there = asyncio.run_coroutine_threadsafe(_outcome(self._next()), self._loop)
        try:
            outcome = await asyncio.wrap_future(there)
        except asyncio.CancelledError:
            self.cancel()  # the item may be on its way already, and would be lost
            raise
        return outcome.get()

    def __iter__(self) -> DeploymentResponseGenerator[R]:
        return self

    def __next__(self) -> R:
        if running_loop() is not None:
            raise RuntimeError("iterating a response blocks, and this is an event loop: use `async for`")
        try:
            outcome = asyncio.run_coroutine_threadsafe(_outcome(self._next()), self._loop).result()
        except concurrent.futures.CancelledError:
            raise self._gone() from None
        if isinstance(outcome.error, StopAsyncIteration):
            raise StopIteration
        return outcome.get()

    def cancel(self) -> None:
        """Give the call up: its receiver is told, and asking for another item raises ``CallCancelled``."""
        self._cancelled = True
        self._stop()

    def cancelled(self) -> bool:
        """Return whether ``cancel`` was called; the call may have ended before it."""
        return self._cancelled

    def _begin(self) -> None:
        if not self._cancelled:
            self._items = self._open_stream()
            self._step = self._loop.create_task(_first(self._items))
            self._step.add_done_callback(_seen)

    async def _next(self) -> R:
        async with self._turn:
            return await self._asked()

    async def _asked(self) -> R:
        if self._cancelled:
            raise self._gone()
        if self._failure is not None:
            raise self._failure  # to every reader: an end would look as if that had been all
        if self._ended or self._items is None:
            raise StopAsyncIteration
        step = self._step or self._loop.create_task(_first(self._items))
        self._step = step
        try:
            return await step
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and not current.cancelling():
                raise self._gone() from None
            self.cancel()  # the item is lost: to go on would look as if it had never been
            raise
        except BaseException as exc:
            if isinstance(exc, Exception) and not isinstance(exc, StopAsyncIteration):
                self._failure = exc
            self._finish()
            raise
        finally:
            self._step = None

    def _stop(self) -> None:
        if running_loop() is self._loop:
            self._close()
        else:
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        """Let the stream go: by the step that waits for an item, or by closing it between two items."""
        self._finish()
        if self._step is not None and not self._step.done():
            self._step.cancel()
        elif self._items is not None and self._closing is None:
            self._closing = self._loop.create_task(_close(self._items))

    def _finish(self) -> None:
        self._ended = True
        if self._calls is not None:
            self._calls.discard(self._name)

    def _gone(self) -> CallCancelled:
        return CallCancelled(f"the call was cancelled (request {self.request_id})")

    def __await__(self) -> NoReturn:
        raise TypeError("a streaming response is iterated, not awaited: `async for item in response`")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a streaming response cannot be sent: iterate it and send its items")


def _begun(
    start: Callable[[], asyncio.Future[R] | None] | None, loop: asyncio.AbstractEventLoop
) -> asyncio.Future[R] | None:
    """Return what ``start`` returns; what it raises is raised to whoever waits for the response."""
    if start is None:
        return None
    try:
        return start()
    except Exception as exc:
        return loop.create_task(_raised(exc))


async def _raised(exc: Exception) -> NoReturn:
    raise exc


async def _first(items: AsyncIterator[R]) -> R:
    return await anext(items)


async def _close(items: AsyncIterator[R]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


def _weakly(method: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls ``method`` while its object is there."""
    found = weakref.WeakMethod(method)

    def call() -> None:
        if (bound := found()) is not None:
            bound()

    return call


def _seen(step: asyncio.Task[Any]) -> None:
    if not step.cancelled():
        step.exception()
