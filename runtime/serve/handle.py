"""Deployment handles: calling another deployment as if it were here, through the router and its scheduler."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, cast, overload

from runtime.serve.context import CallTransport, RequestContext, current_replica, request_context
from runtime.serve.handle_call import PLAIN, HandleCall, HandleOptions
from runtime.serve.response import DeploymentResponse, DeploymentResponseGenerator, running_loop

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ResponseT = TypeVar(
        "ResponseT",
        bound="DeploymentResponse[Any] | DeploymentResponseGenerator[Any]",
        default="DeploymentResponse[Any]",
    )
else:
    from typing import TypeVar

    ResponseT = TypeVar("ResponseT")

__all__ = ["DeploymentHandle", "DeploymentResponse", "DeploymentResponseGenerator", "HandleOptions"]

REFUSED: Final[dict[str, str]] = {
    "session_id": "requests stick to replicas by model: use multiplexed_model_id",
    "use_new_handle_api": "there is one handle API",
    "_prefer_local_routing": "the scheduler places every call",
    "_by_reference": "large arrays travel out of band, without an object store",
    "request_serialization": "values travel as pickle protocol 5",
    "response_serialization": "values travel as pickle protocol 5",
}


class DeploymentHandle(Generic[ResponseT]):
    """Calls a deployment: ``handle.remote(x)``, ``handle.other_method.remote(x)``.

    The model id is not inherited: each hop names its own with ``.options(multiplexed_model_id="3")``. Handles are
    immutable and can be pickled.
    """

    def __init__(
        self,
        deployment_name: str,
        app_name: str = "default",
        *,
        options: HandleOptions = PLAIN,
        transport: CallTransport | None = None,
    ) -> None:
        """``transport``: how to reach it; None: as the replica that the code runs in does."""
        self.deployment_name = deployment_name
        self.app_name = app_name
        self._options = options
        self._transport = transport

    @overload
    def options(
        self, *, stream: Literal[True], method_name: str = ..., multiplexed_model_id: str = ...
    ) -> DeploymentHandle[DeploymentResponseGenerator[Any]]: ...
    @overload
    def options(
        self, *, stream: Literal[False], method_name: str = ..., multiplexed_model_id: str = ...
    ) -> DeploymentHandle[DeploymentResponse[Any]]: ...
    @overload
    def options(self, *, method_name: str = ..., multiplexed_model_id: str = ...) -> DeploymentHandle[ResponseT]: ...
    def options(self, **options: Any) -> DeploymentHandle[Any]:
        """Return a copy that calls ``method_name``, names ``multiplexed_model_id``, or streams.

        Raises ``TypeError`` for an option that does not exist or has no meaning here, with the reason.
        """
        _check_options(options)
        return DeploymentHandle(
            self.deployment_name,
            self.app_name,
            options=replace(self._options, **options),
            transport=self._transport,
        )

    def remote(self, *args: Any, **kwargs: Any) -> ResponseT:
        """Start the call and return its response at once. Whatever it was given may be changed from then on.

        Responses among the arguments are replaced by their values. Raises ``RuntimeError`` where the handle has no
        way to its deployment: outside a replica, handles come from ``serve.get_deployment_handle``.
        """
        transport = self._transport_here()
        request = request_context.get() or RequestContext(request_id=secrets.token_hex(8), app=self.app_name)
        call = HandleCall(self.deployment_name, self._options, args, kwargs, request, transport)
        loop = transport.loop
        if self._options.stream or running_loop() is not loop:
            call.keep()
        response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]
        if self._options.stream:
            response = DeploymentResponseGenerator(
                call.stream, loop, request_id=request.request_id, calls=request.calls
            )
        else:
            response = DeploymentResponse(
                call.run, loop, start=call.start, request_id=request.request_id, calls=request.calls
            )
        return cast("ResponseT", response)

    def _transport_here(self) -> CallTransport:
        if self._transport is not None:
            return self._transport
        replica = current_replica()
        if replica is None:
            raise RuntimeError(
                f"the handle of {self.deployment_name} was called outside a replica; in a script, get one with "
                f"serve.get_deployment_handle({self.deployment_name!r}), in a test from serve.testing.client()"
            )
        return replica.transport

    def __getattr__(self, name: str) -> DeploymentHandle[ResponseT]:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} of {self.deployment_name} begins with an underscore: handles call no such")
        options = self._options
        named = HandleOptions(name, options.multiplexed_model_id, options.stream)
        return DeploymentHandle(self.deployment_name, self.app_name, options=named, transport=self._transport)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.deployment_name, self.app_name, self._options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeploymentHandle):
            return NotImplemented
        return self.__reduce__() == other.__reduce__() and self._transport is other._transport

    def __hash__(self) -> int:
        return hash((self.deployment_name, self.app_name, self._options))

    def __repr__(self) -> str:
        method = "" if self._options.method_name == "__call__" else f".{self._options.method_name}"
        return f"DeploymentHandle({self.deployment_name!r}{method}, app_name={self.app_name!r})"


def _rebuilt(deployment_name: str, app_name: str, options: HandleOptions) -> DeploymentHandle[Any]:
    return DeploymentHandle(deployment_name, app_name, options=options)


def _check_options(options: Mapping[str, Any]) -> None:
    kinds: dict[str, type] = {"method_name": str, "multiplexed_model_id": str, "stream": bool}
    for name, value in options.items():
        if name in REFUSED:
            raise TypeError(f"handle.options() has no {name!r} here: {REFUSED[name]}")
        if name not in kinds:
            close = difflib.get_close_matches(name, kinds, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else f"; the options are {', '.join(kinds)}"
            raise TypeError(f"handle.options() has no {name!r}{meant}")
        if type(value) is not kinds[name]:
            raise TypeError(f"{name} must be of type {kinds[name].__name__}, not {value!r}")
