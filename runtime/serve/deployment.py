"""``@serve.deployment``: a class or function that replicas run, with its options."""

from __future__ import annotations

import inspect
from typing import Any, Generic, Protocol, TypeVar, overload

from runtime.serve.application import Application, BoundDeployment
from runtime.serve.options import DeploymentOptions, check_name

__all__ = ["Application", "BoundDeployment", "Deployment", "DeploymentDecorator", "DeploymentOptions", "deployment"]

T = TypeVar("T")


class Deployment(Generic[T]):
    """A class or function (``func_or_class``) with its options (``settings``). Immutable."""

    def __init__(self, func_or_class: T, settings: DeploymentOptions) -> None:
        self.func_or_class = func_or_class
        self.settings = settings
        self.__doc__ = func_or_class.__doc__
        self.__module__ = func_or_class.__module__

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def num_replicas(self) -> int:
        return self.settings.num_replicas

    @property
    def user_config(self) -> Any:
        return self.settings.user_config

    @property
    def max_ongoing_requests(self) -> int:
        return self.settings.max_ongoing_requests

    @property
    def max_queued_requests(self) -> int:
        return self.settings.max_queued_requests

    @property
    def is_function(self) -> bool:
        return not isinstance(self.func_or_class, type)

    def options(self, **options: Any) -> Deployment[T]:
        """Return a copy with some options changed; the names are those of ``@serve.deployment``."""
        changed = self.settings.changed(options)
        _check_reconfigure(self.func_or_class, options)
        return Deployment(self.func_or_class, changed)

    def bind(self, *args: Any, **kwargs: Any) -> Application:
        """Return an application of which this deployment is the ingress.

        The arguments go to the class's ``__init__`` in each replica. A bound deployment among them (also in lists,
        tuples and dicts) is deployed beside it, and arrives as a ``DeploymentHandle``.
        """
        if self.is_function and (args or kwargs):
            raise TypeError(f"{self.name} is a function: it has no __init__ that .bind() could give arguments to")
        if not self.is_function:
            self._check_arguments(args, kwargs)
        return Application(self, args, kwargs)

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            signature = inspect.signature(self.func_or_class)  # type: ignore[arg-type]
        except ValueError:
            return  # a class of C code that does not say what it takes
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self.name}.bind(): {exc}; __init__ takes {signature}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"{self.name} is a deployment: replicas construct it. Use {self.name}.bind(...) to deploy it, "
            f"{self.name}.func_or_class(...) for a plain object, or serve.testing.client() in tests."
        )

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        raise TypeError(
            f"{self.name} is a deployment, not a class; subclass {self.name}.func_or_class and decorate the subclass"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Deployment):
            return NotImplemented
        return bool(self.func_or_class is other.func_or_class and self.settings == other.settings)

    def __hash__(self) -> int:
        return hash((id(self.func_or_class), self.settings.name))

    def __repr__(self) -> str:
        return f"Deployment(name={self.name!r})"


class DeploymentDecorator(Protocol):
    """What ``@serve.deployment(...)`` with options returns."""

    def __call__(self, func_or_class: T, /) -> Deployment[T]: ...


@overload
def deployment(func_or_class: T, /) -> Deployment[T]: ...
@overload
def deployment(
    func_or_class: None = None,
    /,
    *,
    name: str = ...,
    num_replicas: int | None = ...,
    max_ongoing_requests: int = ...,
    max_queued_requests: int = ...,
    user_config: Any = ...,
    health_check_period_s: float = ...,
    health_check_timeout_s: float = ...,
    graceful_shutdown_timeout_s: float = ...,
) -> DeploymentDecorator: ...
def deployment(func_or_class: Any = None, /, **options: Any) -> Any:
    """Make a deployment of a class or function.

    Options are Ray Serve's: ``name``, ``num_replicas``, ``max_ongoing_requests``, ``max_queued_requests``,
    ``user_config`` (given to ``reconfigure``), ``health_check_period_s``, ``health_check_timeout_s`` and
    ``graceful_shutdown_timeout_s``. Keys of the same names in the YAML file override them. An option that has no
    meaning here, or that does not exist, raises ``TypeError`` with the reason.
    """

    def decorate(target: Any) -> Deployment[Any]:
        if isinstance(target, Deployment):
            raise TypeError(f"{target.name} is a deployment already; change it with {target.name}.options(...)")
        if not inspect.isclass(target) and not inspect.isroutine(target):
            raise TypeError(f"@serve.deployment decorates a class or a function, not {type(target).__name__}")
        _check_reconfigure(target, options)
        own_name = DeploymentOptions(name="" if "name" in options else check_name(target.__name__))
        return Deployment(target, own_name.changed(options))

    return decorate if func_or_class is None else decorate(func_or_class)


def _check_reconfigure(target: Any, options: dict[str, Any]) -> None:
    if options.get("user_config") is None:
        return
    if not callable(getattr(target, "reconfigure", None)):
        raise TypeError(f"{target.__name__} has a user_config but no reconfigure(user_config) method to take it")
