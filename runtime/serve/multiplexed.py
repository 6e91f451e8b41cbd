"""``@serve.multiplexed``: a loader whose results the replica keeps, one cache for each decorated loader."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, overload
from weakref import WeakKeyDictionary

from runtime.serve.context import batch_members, current_replica
from runtime.serve.references import decorated, method_behind

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

UNLIMITED = -1


class BoundLoader(Protocol[M_co]):
    """A loader as seen from an instance: ``await self.get_model("3")``."""

    def __call__(self, model_id: str, /) -> Coroutine[Any, Any, M_co]: ...


class Multiplexed(Generic[M]):
    """A multiplexed loader: a descriptor when it is a method, a coroutine function when it is a function.

    ``cache`` numbers the loader among those of its deployment, in definition order (see ``find_loaders``); -1 before.
    """

    def __init__(self, function: Callable[..., Coroutine[Any, Any, M]], max_num_models: int) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.max_num_models = max_num_models
        self.is_method = len(inspect.signature(function).parameters) == 2
        self.cache = -1  # not found in a deployment yet
        self._caches: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # by the target it was found in

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def number(self, target: object, cache: int) -> None:
        """Note that the loader owns cache ``cache`` of the deployment ``target``."""
        self.cache = cache
        self._caches[target] = cache

    async def load(self, owner: object | None, model_id: str) -> M:
        """Run the user's own function: no cache, no lease."""
        if self.is_method:
            return await self.function(owner, model_id)
        return await self.function(model_id)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Multiplexed[M]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> BoundLoader[M]: ...
    def __get__(self, instance: object | None, owner: type | None = None, /) -> Multiplexed[M] | BoundLoader[M]:
        if instance is None or not self.is_method:
            return self
        return functools.partial(self._call, instance)

    async def __call__(self, *args: Any, **kwargs: Any) -> M:
        if self.is_method:
            if not args:
                raise TypeError(f"{self.name}() is a method: call it on an instance, with the model id")
            return await self._call(*args, **kwargs)
        return await self._call(None, *args, **kwargs)

    async def _call(self, owner: object | None, /, *args: Any, **kwargs: Any) -> M:
        model_id = self._model_id(args, kwargs)
        if current_replica() is None:
            raise RuntimeError(
                f"{self.name}({model_id!r}) was called outside a replica: models are kept where they are served. "
                "In tests use serve.testing.client()."
            )
        if owner is not None and method_behind(type(owner), self.name, Multiplexed) not in (self, None):
            return await self.load(owner, model_id)  # super().get_model(...) inside the loader that overrides it
        loaded = await _load_for_everyone(self._cache_for(owner), model_id, owner)
        return loaded  # type: ignore[return-value]  # what the user's loader returned is an M

    def _model_id(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if kwargs:
            raise TypeError(f"{self.name}() takes the model id as a positional argument, not as {next(iter(kwargs))}=")
        if len(args) != 1:
            raise TypeError(f"{self.name}() takes exactly one model id, but got {len(args)} arguments")
        model_id = args[0]
        if not isinstance(model_id, str):
            raise TypeError(f"{self.name}() takes a model id of type str, but got {type(model_id).__name__}")
        if not model_id:
            raise ValueError(f"{self.name}() was called with an empty model id: the request names no model")
        return model_id

    def _cache_for(self, owner: object | None) -> int:
        for cls in type(owner).__mro__ if owner is not None else ():
            if cls in self._caches:
                return self._caches[cls]
        if self.cache < 0:
            raise RuntimeError(
                f"{self.name}() is not known to the deployment that calls it: define it as a method of its class, or "
                "as a function that its code names, with @serve.multiplexed as the outermost decorator"
            )
        return self.cache

    def __repr__(self) -> str:
        return f"<multiplexed {self.function.__qualname__}, at most {self.max_num_models} models>"


async def _load_for_everyone(cache: int, model_id: str, owner: object | None) -> object:
    """Ask the replica on behalf of the current request; in a batch, on behalf of each member, so that all hold it."""
    replica = current_replica()
    assert replica is not None
    members = batch_members.get()
    if len(members) < 2:
        return await replica.load_model(cache, model_id, owner)
    loop = asyncio.get_running_loop()
    asked = [loop.create_task(_load_for_everyone(cache, model_id, owner), context=member) for member in members]
    try:
        await asyncio.wait(asked)
    finally:
        for task in asked:
            task.cancel()
    failures = [task.exception() for task in asked if not task.cancelled()]
    for task in asked:
        if not task.cancelled() and task.exception() is None:
            return task.result()
    raise next((failure for failure in failures if failure is not None), asyncio.CancelledError())


def find_loaders(target: object) -> list[Multiplexed[Any]]:
    """Return the multiplexed loaders of a deployment's class or function (or of a module), numbered from 0.

    A class has its methods, inherited ones first, and the function loaders that its methods name; a function has
    the loaders that it names.
    """
    loaders: list[Multiplexed[Any]] = decorated(target, Multiplexed)
    for cache, loader in enumerate(loaders):
        loader.number(target, cache)
    return loaders


class MultiplexedDecorator(Protocol):
    """What ``@serve.multiplexed(max_num_models_per_replica=…)`` returns."""

    @overload
    def __call__(self, func: Callable[[str], Coroutine[Any, Any, M]], /) -> Multiplexed[M]: ...
    @overload
    def __call__(self, func: Callable[[Any, str], Coroutine[Any, Any, M]], /) -> Multiplexed[M]: ...


@overload
def multiplexed(
    func: Callable[[str], Coroutine[Any, Any, M]], /, *, max_num_models_per_replica: int = 3
) -> Multiplexed[M]: ...
@overload
def multiplexed(
    func: Callable[[Any, str], Coroutine[Any, Any, M]], /, *, max_num_models_per_replica: int = 3
) -> Multiplexed[M]: ...
@overload
def multiplexed(func: None = None, /, *, max_num_models_per_replica: int = 3) -> MultiplexedDecorator: ...
def multiplexed(
    func: Callable[..., Coroutine[Any, Any, Any]] | None = None, /, *, max_num_models_per_replica: int = 3
) -> Any:
    """Keep what an ``async def`` loader returns: at most ``max_num_models_per_replica`` models (-1: no limit).

    The loader is a function of one model id, or a method of ``self`` and one model id. Each decorated loader has a
    cache of its own. A model that a request holds is never unloaded before the request has ended; when it is
    unloaded, its ``__del__`` (sync or async) is called once. Raises ``TypeError`` or ``ValueError`` at once for
    anything else.
    """
    if type(max_num_models_per_replica) is not int:
        raise TypeError(
            f"max_num_models_per_replica must be an integer, not {type(max_num_models_per_replica).__name__}"
        )
    if max_num_models_per_replica != UNLIMITED and max_num_models_per_replica < 1:
        raise ValueError(
            f"max_num_models_per_replica must be 1 or more, or -1 for no limit, not {max_num_models_per_replica}"
        )

    def decorate(function: Callable[..., Coroutine[Any, Any, Any]]) -> Multiplexed[Any]:
        _check_loader(function)
        return Multiplexed(function, max_num_models_per_replica)

    return decorate if func is None else decorate(func)


def _check_loader(function: object) -> None:
    """Raise ``TypeError`` unless ``function`` is an ``async def`` of (model_id) or of (self, model_id)."""
    if not inspect.isfunction(function):
        raise TypeError(f"@serve.multiplexed decorates an async function or method, not {_kind(function)}")
    name = function.__qualname__
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: a multiplexed loader returns its model, and this one yields")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"@serve.multiplexed decorates an async function: write `async def {function.__name__}`")
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"{name}: a multiplexed loader takes one model id by position, not {parameter}")
    in_class = name.rpartition(".")[0].rpartition(".")[2] not in ("", "<locals>")
    of_self = in_class or (bool(parameters) and parameters[0].name == "self")
    expected = 2 if of_self else 1
    if len(parameters) != expected:
        wanted = "(self, model_id)" if of_self else "(model_id)"
        given = ", ".join(parameter.name for parameter in parameters)
        raise TypeError(f"{name}: a multiplexed loader takes exactly {wanted}, but this one takes ({given})")


def _kind(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"an object of type {type(thing).__name__}"
