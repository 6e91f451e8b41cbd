"""One call of a handle, from ``.remote()`` until a transport takes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import CallCycle, CallTimeout
from runtime.serve.context import Call, CallTransport, RequestContext
from runtime.serve.response import DeploymentResponse

if TYPE_CHECKING:
    from runtime.serve.codec import Encoded


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """What a handle's calls say: the method, the model, and whether the answer is a stream."""

    method_name: str = "__call__"
    multiplexed_model_id: str = ""
    stream: bool = False


PLAIN: Final = HandleOptions()


class HandleCall:
    """One call, ready to be made. Its arguments are what they were at ``.remote()``, whenever its turn comes."""

    __slots__ = (
        "_args", "_deployment", "_failure", "_kept", "_kwargs", "_options", "_request", "_responses", "_transport",
    )  # fmt: skip

    def __init__(
        self,
        deployment: str,
        options: HandleOptions,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        request: RequestContext,
        transport: CallTransport,
    ) -> None:
        self._deployment = deployment
        self._options = options
        self._args = args
        self._kwargs = kwargs
        self._request = request
        self._transport = transport
        self._kept: Encoded | None = None
        self._responses: dict[int | str, DeploymentResponse[Any]] = {}
        self._failure: Exception | None = None

    def keep(self) -> None:
        """Pickle the arguments now, but for responses, whose values come later.

        What pickling raises is raised to whoever waits for the answer.
        """
        args, kwargs = list(self._args), dict(self._kwargs)
        self._args, self._kwargs = (), {}
        named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        self._responses = {name: value for name, value in named if isinstance(value, DeploymentResponse)}
        for name in self._responses:
            if isinstance(name, int):
                args[name] = None
            else:
                kwargs[name] = None
        try:
            self._kept = self._pack(args, kwargs).owned()
        except Exception as exc:
            self._failure = exc

    def start(self) -> asyncio.Future[object] | None:
        """Make the call now, on the transport's loop; None if something has to be awaited first."""
        if self._args or self._kwargs:
            arguments = (*self._args, *self._kwargs.values())
            if any(isinstance(argument, DeploymentResponse) for argument in arguments):
                self.keep()
                return None
        call = self._call(self._pack(self._args, self._kwargs))
        future = self._transport.start(call)
        if future is None:
            self._kept = call.arguments.owned()
        return future

    async def run(self) -> object:
        return await self._transport.call(self._call(await self._arguments()))

    async def stream(self) -> AsyncIterator[object]:
        items = self._transport.stream(self._call(await self._arguments()))
        try:
            async for item in items:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Encoded:
        return self._transport.pack(self._deployment, self._options.method_name, args, kwargs)

    def _call(self, arguments: Encoded) -> Call:
        self._refuse_cycle()
        method, model = self._options.method_name, self._options.multiplexed_model_id
        return Call(self._deployment, method, model, arguments, self._request, self._time_left_s())

    async def _arguments(self) -> Encoded:
        """Return what was kept, with the values of the responses in their places."""
        self._refuse_cycle()
        if self._failure is not None:
            raise self._failure
        late = {name: await response.shared() for name, response in self._responses.items()}
        kept, self._kept = self._kept, None  # its memory is the call's alone
        assert kept is not None
        return kept.joined(late) if late else kept

    def _refuse_cycle(self) -> None:
        chain = self._request.chain
        if self._deployment in chain:
            path = " → ".join([*chain[chain.index(self._deployment) :], self._deployment])
            raise CallCycle(
                f"{self._deployment} is waiting for this request already: {path}",
                hint="a deployment that waits for itself can block all of its replicas; call the code directly",
            )

    def _time_left_s(self) -> float | None:
        deadline = self._request.deadline
        if deadline is None:
            return None
        left = deadline - time.monotonic()
        if left <= 0:
            raise CallTimeout(f"no time was left for the call of {self._deployment}")
        return left
