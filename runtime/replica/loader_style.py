"""The loader style: a ``loader:`` and perhaps a ``handler:`` in the config, and no class at all.

The handler's second parameter says what it wants:

| parameter | what it is given |
|---|---|
| named ``request``, annotated as ``Request``, or of any other name without annotation | the starlette ``Request`` |
| named ``inputs`` | the field ``inputs`` of the JSON body; without one its default, if it has one |
| named ``body``, or annotated as anything else | the whole JSON body (validated, for a pydantic model) |

Without a handler the model itself is called with ``inputs``: a torch module with a tensor, in inference mode.
A handler whose ``model`` defaults to None also answers requests that name no model; else they are a 400.
A loader says that there is no such model, a 404, by raising ``LookupError``, ``KeyError`` of the id or
``FileNotFoundError``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.core.events import Key
from runtime.errors import BadRequest, StartError
from runtime.replica.executor import Executor, run_in_thread
from runtime.replica.signatures import Wants, is_async, takes_no_model, takes_path, unloader_of, wants_of

if TYPE_CHECKING:
    from runtime.replica.call_server import CallWork
    from runtime.replica.cleanup import Unloader
    from runtime.replica.request import HttpWork

AskModel = Callable[[int, str, object | None], Any]
_HINT: Final = """send {"inputs": [[1, 2, 3]]}"""
_DEFAULT: Final = object()  # the handler's own default for its second parameter


class LoaderStyle:
    """A loader and a handler as a ``Servable``. ``ask`` is set by the host: it returns the resident model."""

    max_batch = 1
    admits_failed = False
    asgi_app: Any = None

    def __init__(
        self,
        loader: Callable[..., Any],
        handler: Callable[..., Any] | None,
        unloader: Callable[..., Any] | None,
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
        self.unloader: Unloader | None = unloader_of(unloader) if unloader is not None else None
        self._loader = loader
        self._loader_is_async = is_async(loader)
        self._takes_path = takes_path(loader, has_source)
        self._handler = handler
        self._handler_is_async = handler is not None and is_async(handler)
        wanted: tuple[Wants, Any, bool] = wants_of(handler) if handler is not None else ("inputs", None, False)
        self._wants, self._annotation, self._has_default = wanted
        self._takes_no_model = handler is not None and takes_no_model(handler)
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
        model = work.leased
        if model is None:
            model = await self._model(work)
        given = work.user_request() if self._wants == "request" else await self._given(work)
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
            raise AttributeError(f"a deployment of a loader has no method {method!r}; call the handle itself")
        model = await self._model(work)
        if self._handler is None:
            return await self._infer(model, *args, **kwargs)
        handler = self._handler
        if self._handler_is_async:
            return await handler(model, *args, **kwargs)
        return await self._executor.run(lambda: handler(model, *args, **kwargs))

    async def _model(self, work: HttpWork | CallWork) -> object:
        """Return the model; one that was resident at admission needs no question, as nothing else is asked for."""
        if work.leased is not None:
            return work.leased
        if work.model is not None:
            return await self._ask(0, work.model, None)
        if self._takes_no_model:
            return None
        raise BadRequest(
            "the request names no model, and this deployment's handler needs one",
            hint="name it in the header serve_multiplexed_model_id, or where model_id: of the configuration has it (a "
            "json_field needs a body that is JSON), or in a handle's options(multiplexed_model_id=...); a handler "
            "whose model defaults to None answers without",
        )

    async def _given(self, work: HttpWork) -> Any:
        raw = await work.user_request().body()
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
        if is_async(model):
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
