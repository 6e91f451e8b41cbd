"""``@serve.batch``: callers pass one item each, the function gets lists; a batch is always of one model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from runtime.serve.batch_queue import BatchQueue, BatchSettings
from runtime.serve.references import decorated

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R")


class BoundBatch(Generic[P, R_co]):
    """A batch function with its queue: call it with one item."""

    def __init__(self, batched: Batched[P, R_co], owner: object | None, queue: BatchQueue) -> None:
        functools.update_wrapper(self, batched.function)
        self._batched = batched
        self._owner = owner
        self._queue = queue

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self._batched.enqueue(self._owner, self._queue, args, kwargs)

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Change the size of batches that start from now on."""
        self._queue.settings.max_batch_size = _whole("max_batch_size", max_batch_size)

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Change how long a batch waits for more members, from the next one on."""
        self._queue.settings.batch_wait_timeout_s = _seconds(batch_wait_timeout_s)


class Batched(Generic[P, R_co]):
    """A batch function: a descriptor when it is a method (each instance has its own queue)."""

    def __init__(self, function: Callable[..., Any], settings: BatchSettings) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.settings = settings
        self._streams = inspect.isasyncgenfunction(function)
        self._parameters = inspect.signature(function)
        self._is_method = next(iter(self._parameters.parameters), "") == "self"  # also below another decorator
        self._queue = BatchQueue(function.__qualname__, settings)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self._is_method = True

    @property
    def max_batch_size(self) -> int:
        return self.settings.max_batch_size

    @overload
    def __get__(self, instance: None, owner: type, /) -> Batched[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> BoundBatch[P, R_co]: ...
    def __get__(self, instance: object | None, owner: type | None = None, /) -> Batched[P, R_co] | BoundBatch[P, R_co]:
        return self if instance is None else BoundBatch(self, instance, self._queue_of(instance))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        if self._is_method:
            if not args:
                raise TypeError(f"{self.name}() is a method: call it on an instance")
            return self.enqueue(args[0], self._queue_of(args[0]), args[1:], kwargs)
        return self.enqueue(None, self._queue, args, kwargs)

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Change the size of batches that start from now on; of a method: for instances that have made none yet."""
        self.settings.max_batch_size = _whole("max_batch_size", max_batch_size)

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Change how long a batch waits; of a method: for instances that have made none yet."""
        self.settings.batch_wait_timeout_s = _seconds(batch_wait_timeout_s)

    def enqueue(self, owner: object | None, queue: BatchQueue, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R_co:
        """Wait in ``queue`` for a batch of ``owner``'s: an awaitable, or an async iterator of a streaming function.

        Raises ``TypeError`` at once for arguments that the function does not take.
        """
        arguments = self._arguments(owner, args, kwargs)
        call = functools.partial(self._call, owner)
        return cast(R_co, queue.many(call, arguments) if self._streams else queue.one(call, arguments))

    def _call(self, owner: object | None, members: Sequence[tuple[Any, ...]]) -> Any:
        """Call the user's function with one list for each parameter."""
        columns = [list(column) for column in zip(*members, strict=True)]
        return self.function(*([owner] if self._is_method else []), *columns)

    def _arguments(self, owner: object | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        given = (owner, *args) if self._is_method else args
        bound = self._parameters.bind(*given, **kwargs)
        bound.apply_defaults()
        values = tuple(bound.arguments.values())
        return values[1:] if self._is_method else values

    def _queue_of(self, instance: object) -> BatchQueue:
        state: dict[str, Any] | None = getattr(instance, "__dict__", None)
        if state is None:
            raise TypeError(f"{type(instance).__name__} has __slots__, which leaves no room for {self.name}'s queue")
        key = f"__mux_batch_{self.function.__qualname__}"
        if key not in state:
            state[key] = BatchQueue(self.function.__qualname__, replace(self.settings))
        queue: BatchQueue = state[key]
        return queue

    def __repr__(self) -> str:
        return f"<batch {self.function.__qualname__}, at most {self.max_batch_size}>"


def find_batches(target: object) -> list[Batched[..., Any]]:
    """Return the batch functions of a deployment's class or function, in definition order."""
    found: list[Batched[..., Any]] = decorated(target, Batched)
    return found


class BatchDecorator(Protocol):
    """What ``@serve.batch(...)`` with options returns."""

    @overload
    def __call__(
        self, func: Callable[[list[T]], Coroutine[Any, Any, Sequence[R]]], /
    ) -> Batched[[T], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, func: Callable[[Any, list[T]], Coroutine[Any, Any, Sequence[R]]], /
    ) -> Batched[[T], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, func: Callable[[list[T]], AsyncGenerator[Sequence[R], None]], /
    ) -> Batched[[T], AsyncIterator[R]]: ...
    @overload
    def __call__(
        self, func: Callable[[Any, list[T]], AsyncGenerator[Sequence[R], None]], /
    ) -> Batched[[T], AsyncIterator[R]]: ...
    @overload
    def __call__(self, func: Callable[..., Coroutine[Any, Any, Any]], /) -> Batched[..., Coroutine[Any, Any, Any]]: ...


@overload
def batch(func: Callable[[list[T]], Coroutine[Any, Any, Sequence[R]]], /) -> Batched[[T], Coroutine[Any, Any, R]]: ...
@overload
def batch(
    func: Callable[[Any, list[T]], Coroutine[Any, Any, Sequence[R]]], /
) -> Batched[[T], Coroutine[Any, Any, R]]: ...
@overload
def batch(func: Callable[[list[T]], AsyncGenerator[Sequence[R], None]], /) -> Batched[[T], AsyncIterator[R]]: ...
@overload
def batch(func: Callable[[Any, list[T]], AsyncGenerator[Sequence[R], None]], /) -> Batched[[T], AsyncIterator[R]]: ...
@overload
def batch(func: Callable[..., Coroutine[Any, Any, Any]], /) -> Batched[..., Coroutine[Any, Any, Any]]: ...
@overload
def batch(
    func: None = None,
    /,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> BatchDecorator: ...
def batch(
    func: Callable[..., Any] | None = None,
    /,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> Any:
    """Gather calls of an ``async def`` function into lists; it returns (or yields) one result per item, in order.

    A batch starts when ``max_batch_size`` items wait, or ``batch_wait_timeout_s`` after its first one came; at most
    ``max_concurrent_batches`` run at once. Items of different model ids never share a batch, and
    ``serve.get_multiplexed_model_id()`` inside is the batch's. ``batch_size_fn`` measures a list of items where its
    length is not its size. What the function raises goes to that batch's callers only; a caller that is cancelled
    leaves its batch. A streaming function yields lists; ``StopIteration`` in an item's place ends that item's stream.
    """
    settings = BatchSettings(
        _whole("max_batch_size", max_batch_size),
        _seconds(batch_wait_timeout_s),
        _whole("max_concurrent_batches", max_concurrent_batches),
        batch_size_fn,
    )
    if batch_size_fn is not None and not callable(batch_size_fn):
        raise TypeError(f"batch_size_fn must be a function of a list, not {batch_size_fn!r}")

    def decorate(function: Callable[..., Any]) -> Batched[..., Any]:
        if not inspect.isfunction(function):
            raise TypeError(f"@serve.batch decorates an async function or method, not {type(function).__name__}")
        if not inspect.iscoroutinefunction(function) and not inspect.isasyncgenfunction(function):
            raise TypeError(f"@serve.batch decorates an async function: write `async def {function.__name__}`")
        return Batched(function, replace(settings))

    return decorate if func is None else decorate(func)


def _whole(name: str, value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # from a user_config in JSON
    if type(value) is not int:
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"batch_wait_timeout_s must be a number of seconds, not {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"batch_wait_timeout_s must be 0 or more, not {value}")
    return float(value)
