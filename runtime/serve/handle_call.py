"""One call of a handle, from ``.remote()`` until a transport takes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runtime.errors import CallCycle, CallTimeout
from runtime.serve.context import Call, CallTransport, RequestContext
from runtime.serve.response import DeploymentResponse


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """What a handle's calls say: the method, the model, and whether the answer is a stream."""

    method_name: str = "__call__"
    multiplexed_model_id: str = ""
    stream: bool = False


PLAIN: Final = HandleOptions()


@dataclass(slots=True, eq=False)
class HandleCall:
    """One call, ready to be made. Never changed; frozen would cost each call a microsecond."""

    deployment: str
    options: HandleOptions
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    request: RequestContext
    transport: CallTransport

    def start(self) -> asyncio.Future[object] | None:
        """Make the call now, on the transport's loop; None if something has to be awaited first."""
        if self.args or self.kwargs:
            arguments = (*self.args, *self.kwargs.values())
            if any(isinstance(argument, DeploymentResponse) for argument in arguments):
                return None
        return self.transport.start(self._call(self.args, self.kwargs))

    async def run(self) -> object:
        return await self.transport.call(self._call(*await self._arguments()))

    async def stream(self) -> AsyncIterator[object]:
        items = self.transport.stream(self._call(*await self._arguments()))
        try:
            async for item in items:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        self._refuse_cycle()
        method = self.options.method_name
        arguments = self.transport.pack(self.deployment, method, args, kwargs)
        model = self.options.multiplexed_model_id
        return Call(self.deployment, method, model, arguments, self.request, self._time_left_s())

    async def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Refuse a cycle, then wait for the responses among the arguments."""
        self._refuse_cycle()
        args = tuple([await _value(arg) for arg in self.args])
        return args, {name: await _value(arg) for name, arg in self.kwargs.items()}

    def _refuse_cycle(self) -> None:
        chain = self.request.chain
        if self.deployment in chain:
            path = " → ".join([*chain[chain.index(self.deployment) :], self.deployment])
            raise CallCycle(
                f"{self.deployment} is waiting for this request already: {path}",
                hint="a deployment that waits for itself can block all of its replicas; call the code directly",
            )

    def _time_left_s(self) -> float | None:
        deadline = self.request.deadline
        if deadline is None:
            return None
        left = deadline - time.monotonic()
        if left <= 0:
            raise CallTimeout(f"no time was left for the call of {self.deployment}")
        return left


async def _value(argument: Any) -> Any:
    return await argument if isinstance(argument, DeploymentResponse) else argument
