"""The loader style: a ``loader:`` and perhaps a ``handler:`` in the config, and no class at all.

The handler's second parameter says what it wants:

| parameter | what it is given |
|---|---|
| named ``request``, annotated as ``Request``, or of any other name without annotation | the starlette ``Request`` |
| named ``inputs`` | the field ``inputs`` of the JSON body; without one its default, if it has one |
| named ``body``, or annotated as anything else | the whole JSON body (validated, for a pydantic model) |

Without a handler the model itself is called with ``inputs``: a torch module with a tensor, in inference mode.
A loader says that there is no such model by raising ``LookupError`` or ``FileNotFoundError``: a 404.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from runtime.core.events import Key
from runtime.errors import BadRequest, NoSuchThing, StartError
from runtime.replica.executor import Executor, run_in_thread

if TYPE_CHECKING:
    from runtime.replica.call_server import CallWork
    from runtime.replica.cleanup import Unloader
    from runtime.replica.request import HttpWork

Wants = Literal["request", "inputs", "body"]
AskModel = Callable[[int, str, object | None], Any]
_HINT: Final = """send {"inputs": [[1, 2, 3]]}"""
_DEFAULT: Final = object()  # the handler's own default for its second parameter
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class LoaderStyle:
    """A loader and a handler as a ``Servable``. ``ask`` is set by the host: it returns the resident model."""

    max_batch = 1
    admits_failed = False
    asgi_app: Any = None

    def __init__(
        self,
        loader: Callable[..., Any],
        handler: Callable[..., Any] | None,
        unloader: Unloader | None,
        *,
        has_source: bool,
        executor: Executor,
        ask: AskModel,
    ) -> None:
        self.servable_object: object = handler if handler is not None else loader
        self.caches: tuple[int, ...] = (3,)
        self.cache_names: tuple[str, ...] = (getattr(loader, "__name__", "loader"),)
        self.asgi_state: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.unloader = unloader
        self._loader = loader
        self._loader_is_async = _is_async(loader)
        self._takes_path = _takes_path(loader, has_source)
        self._handler = handler
        self._handler_is_async = handler is not None and _is_async(handler)
        wanted: tuple[Wants, Any, bool] = _wants(handler) if handler is not None else ("inputs", None, False)
        self._wants, self._annotation, self._has_default = wanted
        self._executor = executor
        self._ask = ask

    async def start(self, user_config: Any) -> None:
        """Nothing is constructed in this style. Raises ``StartError`` for a user_config: nothing takes it."""
        if user_config:
            raise StartError(
                "user_config needs a class with reconfigure(user_config); a loader has none",
                hint="use import_path with a @serve.deployment class, or env",
            )

    async def reconfigure(self, user_config: Any) -> None:
        await self.start(user_config)

    async def check_health(self) -> None:
        """A loader has no check of its own: that the loop answers is its health."""

    async def stop(self) -> None:
        """Nothing was constructed."""

    # --- models -------------------------------------------------------------------------------------------

    def loads_in_thread(self, key: Key) -> bool:
        return not self._loader_is_async

    async def load(self, key: Key, owner: object | None, path: Path | None) -> object:
        args = (key.model, str(path)) if self._takes_path else (key.model,)
        if self._loader_is_async:
            return await self._loader(*args)
        return await run_in_thread(lambda: self._loader(*args), f"load-{key.model}")

    # --- requests -----------------------------------------------------------------------------------------

    async def respond(self, work: HttpWork) -> Any:
        if work.model is None:
            raise BadRequest(
                "the request names no model, and this deployment is nothing without one",
                hint="name it in the header serve_multiplexed_model_id",
            )
        model = await self._ask(0, work.model, None)
        given = await self._given(work)
        if self._handler is None:
            return {"outputs": await self._infer(model, given)}
        handler = self._handler
        args = (model,) if given is _DEFAULT else (model, given)
        if self._handler_is_async:
            return await handler(*args)
        result = await self._executor.run(lambda: handler(*args))
        return await result if inspect.isawaitable(result) else result

    async def call(self, work: CallWork, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A handle's call: the handler with the caller's own argument in the place of the request."""
        if method != "__call__":
            raise NoSuchThing(f"a deployment of a loader has no method {method!r}; call the handle itself")
        if work.model is None:
            raise BadRequest("the call names no model", hint="use handle.options(multiplexed_model_id=...)")
        model = await self._ask(0, work.model, None)
        if self._handler is None:
            return await self._infer(model, *args, **kwargs)
        handler = self._handler
        if self._handler_is_async:
            return await handler(model, *args, **kwargs)
        return await self._executor.run(lambda: handler(model, *args, **kwargs))

    async def _given(self, work: HttpWork) -> Any:
        request = work.user_request()
        if self._wants == "request":
            return request
        raw = await request.body()
        if not raw and self._has_default:
            return _DEFAULT
        body = _parse(raw)
        if self._wants == "inputs":
            if isinstance(body, dict) and "inputs" in body:
                return body["inputs"]
            if isinstance(body, dict) and self._has_default:
                return _DEFAULT
            raise BadRequest("the JSON body has no field 'inputs'", hint=_HINT)
        return _validated(self._annotation, body)

    async def _infer(self, model: Any, inputs: Any) -> Any:
        """Call the model itself."""
        if not callable(model):
            raise TypeError(
                f"the loader returned a {type(model).__name__}, which cannot be called; set handler: in the config"
            )
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(model, torch.nn.Module):
            return await self._executor.run(lambda: _run_module(torch, model, inputs))
        if _is_async(model):
            return await model(inputs)
        return await self._executor.run(lambda: model(inputs))


def _run_module(torch: Any, model: Any, inputs: Any) -> Any:
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    try:
        tensor = inputs if isinstance(inputs, torch.Tensor) else torch.tensor(inputs)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise BadRequest(f"'inputs' is not a tensor: {exc}", hint=_HINT) from exc
    if first is not None:
        whole = not tensor.is_floating_point()
        as_it_is = whole and _has_embedding(torch, model)  # an embedding takes whole numbers: they are indexes
        tensor = tensor.to(device=first.device, dtype=tensor.dtype if as_it_is else first.dtype)
    with torch.inference_mode():
        return model(tensor)


def _has_embedding(torch: Any, model: Any) -> bool:
    return any(isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag) for part in model.modules())


def _parse(body: bytes) -> Any:
    if not body:
        raise BadRequest("the request has no body", hint=_HINT)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}", hint=_HINT) from exc


def _validated(annotation: Any, body: Any) -> Any:
    validate = getattr(annotation, "model_validate", None)
    if validate is None:
        return body
    from pydantic import ValidationError

    try:
        return validate(body)
    except ValidationError as exc:
        raise BadRequest(f"the body is not a {annotation.__name__}: {exc}") from exc


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _takes_path(loader: Callable[..., Any], has_source: bool) -> bool:
    """Return whether the loader takes (model_id, path). Raises ``StartError`` where that does not fit the config."""
    least, most = _arity(loader)
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


def _arity(function: Callable[..., Any]) -> tuple[int, float]:
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


def _wants(handler: Callable[..., Any]) -> tuple[Wants, Any, bool]:
    """Return what the handler's second parameter asks for, its annotation, and whether it has a default."""
    name = getattr(handler, "__qualname__", repr(handler))
    least, most = _arity(handler)
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
