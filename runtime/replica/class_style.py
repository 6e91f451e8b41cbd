"""The class style: an ``import_path`` to a ``@serve.deployment`` class or function, or to a bound application."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.core.events import Key
from runtime.errors import StartError
from runtime.link.asgi_lifespan import Lifespan
from runtime.replica.asgi_errors import answer_our_errors
from runtime.replica.cleanup import Unloader, clean_up
from runtime.replica.executor import Executor
from runtime.serve.application import Application, BoundDeployment
from runtime.serve.batching import find_batches
from runtime.serve.deployment import Deployment
from runtime.serve.ingress import asgi_app
from runtime.serve.multiplexed import find_loaders

if TYPE_CHECKING:
    from runtime.replica.call_server import CallWork
    from runtime.replica.request import HttpWork


def bound_deployment(found: Any, name: str, application: str, what: str) -> BoundDeployment:
    """Return the one deployment that this replica runs of what ``import_path`` names.

    Of an application it is the one called ``name``, else its only one, else its ingress. Raises ``StartError``.
    """
    if isinstance(found, Deployment):
        found = found.bind()
    if isinstance(found, Application):
        graph = found.deployments(application)
        return next((one for one in graph if one.name == name), graph[-1])
    hint = "decorate it with @serve.deployment, or name what .bind() returned"
    if isinstance(found, type):
        kind = f"the class {found.__name__}"
    elif inspect.isfunction(found):
        kind = f"the function {found.__name__}"
        hint = f"{hint}; of a function that builds an application, name a variable that holds what it returned"
    else:
        kind = f"an object of type {type(found).__name__}"
    raise StartError(f"{what} is {kind}, not a deployment", hint=hint)


class ClassStyle:
    """A deployment's class, or function, as a ``Servable``."""

    admits_failed = True
    unloader: Unloader | None = None

    def __init__(self, bound: BoundDeployment, executor: Executor) -> None:
        self._bound = bound
        self._target: Any = bound.deployment.func_or_class
        self._executor = executor
        self.loaders = find_loaders(self._target)
        self.caches = tuple(loader.max_num_models for loader in self.loaders)
        self.cache_names = tuple(loader.name for loader in self.loaders)
        self.max_batch = _largest_batch(self._target)
        self.options = bound.deployment.settings.explicit()
        self.servable_object: Any = self._target if bound.deployment.is_function else None
        self.asgi_app: Any = None
        self._lifespan: Lifespan | None = None
        self._methods: dict[str, _Method] = {}

    @property
    def asgi_state(self) -> dict[str, Any]:
        return self._lifespan.state if self._lifespan is not None else {}

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self, user_config: Any) -> None:
        if self.servable_object is None:
            self.servable_object = await self._construct()
        if user_config is not None:
            await self.reconfigure(user_config)
        app = asgi_app(self.servable_object)
        if app is not None:
            answer_our_errors(app)
            self._lifespan = Lifespan(app)
            await self._lifespan.startup()
            self.asgi_app = app

    async def _construct(self) -> Any:
        """Return the instance. ``__init__`` runs on the loop, as in Ray Serve; it may be async."""
        cls = self._target
        if not inspect.iscoroutinefunction(cls.__init__):
            return cls(*self._bound.init_args, **self._bound.init_kwargs)
        instance = cls.__new__(cls, *self._bound.init_args, **self._bound.init_kwargs)
        await instance.__init__(*self._bound.init_args, **self._bound.init_kwargs)
        return instance

    async def reconfigure(self, user_config: Any) -> None:
        method = getattr(self.servable_object, "reconfigure", None)
        if method is None:
            raise StartError(
                f"user_config is set, but {self._bound.name} has no reconfigure(user_config) to take it",
                hint="define reconfigure, or remove user_config",
            )
        await self._run(_Method(method), (user_config,), {})

    async def check_health(self) -> None:
        method = getattr(self.servable_object, "check_health", None)
        if method is not None:
            await self._run(_Method(method), (), {})

    async def stop(self) -> None:
        try:
            if self._lifespan is not None:
                await self._lifespan.shutdown()
        finally:
            instance, self.servable_object, self.asgi_app = self.servable_object, None, None
            self._methods.clear()
            if not self._bound.deployment.is_function and instance is not None:
                await clean_up(instance, self._bound.name, None)

    # --- models -------------------------------------------------------------------------------------------

    def loads_in_thread(self, key: Key) -> bool:
        return False

    async def load(self, key: Key, owner: object | None, path: Path | None) -> object:
        return await self.loaders[key.cache].load(owner or self.servable_object, key.model)

    # --- requests -----------------------------------------------------------------------------------------

    async def respond(self, work: HttpWork) -> Any:
        method = self._method("__call__")
        args = (work.user_request(),) if method.takes_arguments else ()
        return await self._run(method, args, {})

    async def call(self, work: CallWork, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._run(self._method(method), args, kwargs)

    def _method(self, name: str) -> _Method:
        """Return a method by its name. Raises ``AttributeError``; private ones are not reached from outside."""
        found = self._methods.get(name)
        if found is None:
            function = self._function(name)
            if function is None:
                raise AttributeError(f"{self._bound.name} has no method {name!r} that can be called from outside")
            found = self._methods[name] = _Method(function)
        return found

    def _function(self, name: str) -> Callable[..., Any] | None:
        if name == "__call__":
            return self.servable_object if callable(self.servable_object) else None
        if name.startswith("_") or self._bound.deployment.is_function:
            return None
        found = getattr(self.servable_object, name, None)
        return found if callable(found) else None

    async def _run(self, method: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = method.function
        if method.on_loop:
            result = function(*args, **kwargs)
        else:
            result = await self._executor.run(lambda: function(*args, **kwargs))
        return await result if inspect.isawaitable(result) else result


class _Method:
    """A method and what must be known of it before it is called."""

    __slots__ = ("function", "on_loop", "takes_arguments")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        code = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
        # a generator function only makes its generator: that needs no thread
        self.on_loop = (
            inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code)
        )
        try:
            self.takes_arguments = bool(inspect.signature(function).parameters)
        except ValueError:
            self.takes_arguments = True


def _largest_batch(target: Any) -> int:
    """Return the largest ``max_batch_size`` among the target's ``@serve.batch`` functions; 1 without one."""
    return max((batch.max_batch_size for batch in find_batches(target)), default=1)
