"""``@serve.ingress``: an ASGI app (FastAPI, Starlette, any) in front of a deployment class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from runtime.serve.context import get_replica_context
from runtime.serve.deployment import Deployment

T = TypeVar("T")

ASGI_ATTRIBUTE = "__mux_asgi_app__"


class IngressApp:
    """The ``__mux_asgi_app__`` of a class: gives the ASGI app.

    What is left to do is done on first use, in the replica, when all routes are defined: a builder is called, and
    methods that are routes get their ``self``.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self._is_builder = _is_builder(app)
        self._served: set[type] = set()  # whose methods have got their self

    def __get__(self, instance: object | None, owner: type) -> Callable[..., Any]:
        if self._is_builder:
            self._app = _checked(self._app())
            self._is_builder = False
        if owner not in self._served:
            self._served.add(owner)
            inject_instance(self._app, owner)
        return self._app


class _IngressDecorator(Protocol):
    """What ``@serve.ingress(app)`` returns; called without a class it makes one."""

    @overload
    def __call__(self, cls: type[T], /) -> type[T]: ...
    @overload
    def __call__(self) -> type[Any]: ...


def ingress(app: Callable[..., Any]) -> _IngressDecorator:
    """Answer a deployment's HTTP requests and websockets with ``app``: an ASGI app, or a function that builds one.

    Routes of a FastAPI app may be methods of the class: ``self`` is then the replica's instance. A builder takes no
    arguments and runs in the replica. ``serve.ingress(app)()`` makes a class for an app that needs none. Raises
    ``TypeError`` for what is neither, and ``ValueError`` for a class that could answer requests itself.
    """
    checked = _checked(app)

    def decorate(cls: Any = None) -> Any:
        target = _plain_class() if cls is None else cls
        if isinstance(target, Deployment):
            raise TypeError("put @serve.deployment above @serve.ingress: the class comes first, then its options")
        if not inspect.isclass(target):
            raise ValueError(f"@serve.ingress decorates a class, not {type(target).__name__}")
        if "__call__" in {name for base in target.__mro__ for name in vars(base)}:
            raise ValueError(f"{target.__name__} has both @serve.ingress and __call__: which one answers requests?")
        setattr(target, ASGI_ATTRIBUTE, IngressApp(checked))
        return target

    return decorate


def asgi_app(target: object) -> Callable[..., Any] | None:
    """Return the ASGI app of a deployment's class or instance, or None if it has none."""
    app: Callable[..., Any] | None = getattr(target, ASGI_ATTRIBUTE, None)
    return app


def inject_instance(app: Any, cls: type) -> None:
    """Let the routes of a FastAPI app that are methods of ``cls`` receive the replica's instance as ``self``."""
    methods = {id(value) for base in cls.__mro__ for value in vars(base).values() if inspect.isfunction(value)}
    changed = False
    for router in _routers(app):
        for route in getattr(router, "routes", ()):
            if hasattr(route, "dependant") and id(route.endpoint) in methods:
                _inject(route)
                changed = True
        if changed and hasattr(router, "_mark_routes_changed"):
            router._mark_routes_changed()  # FastAPI caches what it derives from included routers
    if changed and hasattr(app, "openapi_schema"):
        app.openapi_schema = None


def _routers(app: Any) -> list[Any]:
    """Return the app's router and the routers that it includes."""
    found = [getattr(app, "router", app)]
    for router in found:
        for route in getattr(router, "routes", ()):
            included = getattr(route, "original_router", None)
            if included is not None and included not in found:
                found.append(included)
    return found


def _inject(route: Any) -> None:
    """Make ``self`` a dependency of the route's endpoint, and let FastAPI read the endpoint's signature again."""
    from typing import Annotated

    from fastapi import Depends
    from fastapi.datastructures import Default

    signature = inspect.signature(route.endpoint)
    instance, *others = signature.parameters.values()
    instance = instance.replace(annotation=Annotated[object, Depends(_instance)], default=inspect.Parameter.empty)
    route.endpoint.__signature__ = signature.replace(parameters=[instance, *others])
    wanted = inspect.signature(type(route).__init__).parameters
    state = {name: value for name, value in vars(route).items() if name in wanted}
    if getattr(route, "stream_item_type", None) is not None:
        state["response_model"] = Default(None)  # it was inferred from the annotation, and is again
    route.__init__(**state)


async def _instance() -> object:
    return get_replica_context().servable_object


def _plain_class() -> type:
    class ASGIIngressDeployment:
        """A deployment of an ASGI app alone; what it was bound with is on ``args`` and ``kwargs``."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.args = args
            self.kwargs = kwargs

    return ASGIIngressDeployment


def _checked(app: Any) -> Callable[..., Any]:
    if not callable(app) or inspect.isclass(app):
        raise TypeError(f"@serve.ingress takes an ASGI app or a function that builds one, not {app!r}")
    return app  # type: ignore[no-any-return]


def _is_builder(app: Callable[..., Any]) -> bool:
    """Return whether ``app`` is a function without parameters; an ASGI app takes scope, receive and send."""
    return inspect.isfunction(app) and not inspect.signature(app).parameters
