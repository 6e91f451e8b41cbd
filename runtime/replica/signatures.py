"""What a user's functions take: read from their signatures once, at start."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Literal

from runtime.errors import StartError

Wants = Literal["request", "inputs", "body"]
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes_no_model(handler: Callable[..., Any]) -> bool:
    """Return whether a handler's model may be None, by its default: it then answers requests that name no model."""
    parameters = [p for p in _parameters(handler) if p.kind in _POSITIONAL]
    return bool(parameters) and parameters[0].default is None


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # a function of C code that does not say
        return []


def takes_path(loader: Callable[..., Any], has_source: bool) -> bool:
    """Return whether the loader takes (model_id, path). Raises ``StartError`` where that does not fit the config."""
    least, most = arity(loader)
    name = getattr(loader, "__qualname__", repr(loader))
    if has_source and most < 2:
        raise StartError(
            f"loader: with a source, {name} is given a path too",
            hint=f"write def {name}(model_id, path)",
        )
    if not has_source and least > 1:
        raise StartError(
            f"loader: {name} takes {least} arguments, but without a source there is only the model id",
            hint=f"set source: in the config, or write def {name}(model_id)",
        )
    if most < 1 or least > 2:
        raise StartError(f"loader: {name} must take (model_id) or (model_id, path)")
    return has_source


def unloader_of(function: Callable[..., Any]) -> Callable[[Any, str], Any]:
    """Return the unloader as (model, model_id), whether it takes the id or not. Raises ``StartError``."""
    least, most = arity(function)
    if most < 1 or least > 2:
        name = getattr(function, "__qualname__", repr(function))
        raise StartError(f"unloader: {name} must take (model) or (model, model_id)")
    if most >= 2:
        return function
    if is_async(function):

        async def unload_async(model: Any, model_id: str) -> None:
            await function(model)

        return unload_async
    return lambda model, model_id: function(model)


def is_async(function: Any) -> bool:
    """Return whether calling ``function`` gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def arity(function: Callable[..., Any]) -> tuple[int, float]:
    """Return the least and the most positional arguments that ``function`` takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function of C code that does not say
        return 0, float("inf")
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    least = sum(p.default is p.empty for p in positional)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return least, float("inf")
    return least, len(positional)


def wants_of(handler: Callable[..., Any]) -> tuple[Wants, Any, bool]:
    """Return what the handler's second parameter asks for, its annotation, and whether it has a default."""
    name = getattr(handler, "__qualname__", repr(handler))
    least, most = arity(handler)
    if most < 2 or least > 2:
        raise StartError(f"handler: {name} must take (model, request) or (model, inputs)")
    try:
        signature = inspect.signature(handler, eval_str=True)
    except (NameError, ValueError, TypeError):  # an annotation that only a type checker can read
        signature = inspect.signature(handler)
    parameters = [p for p in signature.parameters.values() if p.kind in _POSITIONAL]
    if len(parameters) < 2:
        return "request", None, False  # *args
    second = parameters[1]
    annotation = None if second.annotation is second.empty else second.annotation
    has_default = second.default is not second.empty
    label = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if second.name == "inputs":
        return "inputs", annotation, has_default
    if second.name == "body":
        return "body", annotation, has_default
    if second.name == "request" or annotation is None or label.rpartition(".")[2] == "Request":
        return "request", annotation, False
    return "body", annotation, has_default
