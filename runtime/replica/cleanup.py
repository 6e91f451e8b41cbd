"""Letting go of a model: its cleanup runs exactly once, now, and never again at garbage collection."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from runtime.replica.executor import run_in_thread

Unloader = Callable[[Any, str], Any]  # (model, model id); sync or async
_SHIM = "__mux_unloaded__"


async def clean_up(model: Any, model_id: str, unloader: Unloader | None) -> None:
    """Run the model's cleanup: ``unloader`` if there is one, else its ``__del__``, sync or async.

    Whatever it raises is raised. A ``__del__`` that ran here is neutralised on this one object first, so the
    collector does not run it again; one that did not run here (an unloader was given, or the class cannot be
    exchanged, as of a C type) is left to the collector, which runs it once.
    """
    try:
        if unloader is not None:
            await _call(lambda: unloader(model, model_id), inspect.iscoroutinefunction(unloader), model_id)
            return
        finalizer = getattr(type(model), "__del__", None)
        if finalizer is not None and _neutralise(model):
            await _call(lambda: finalizer(model), inspect.iscoroutinefunction(finalizer), model_id)
    finally:
        _free_device_memory()


async def _call(function: Callable[[], Any], is_async: bool, model_id: str) -> None:
    result = function() if is_async else await run_in_thread(function, f"unload-{model_id}")
    if isinstance(result, Awaitable):
        await result


def _neutralise(model: Any) -> bool:
    """Give this one object a class whose ``__del__`` does nothing. Returns whether it could be done."""
    cls = type(model)
    try:
        shim = cls.__dict__.get(_SHIM)
        if shim is None:
            shim = _shim_of(cls)
            setattr(cls, _SHIM, shim)  # kept on the class itself, so that both go together
        model.__class__ = shim
    except TypeError:
        return False
    return True


def _shim_of(cls: type) -> type:
    def __del__(self: object) -> None:
        """Stand in for the finalizer that has already run."""

    namespace = {"__slots__": (), "__del__": __del__, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(cls)(cls.__name__, (cls,), namespace)


def _free_device_memory() -> None:
    """Hand cached GPU memory back, so that other replicas on the device can use it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
