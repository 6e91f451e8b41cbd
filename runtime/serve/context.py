"""Where user code is running: its replica, its request, and the calls it has open. The boundary with the replica.

The replica calls ``set_replica_context`` once, and runs each request inside a ``contextvars.Context`` of its own in
which ``request_context`` is set. Handlers that run in a thread get a copy of that context.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runtime.serve.codec import Encoded


class OpenCalls:
    """The handle calls that a request has open, so that they end with it when it is cancelled.

    Thread-safe as far as the interpreter's dict is: calls are added from the loop and from handler threads.
    """

    __slots__ = ("_cancels", "_closed")

    def __init__(self) -> None:
        self._cancels: dict[object, Callable[[], object]] = {}  # keyed by the response that owns the call
        self._closed = False

    def add(self, owner: object, cancel: Callable[[], object]) -> None:
        """Remember an open call; cancel it at once if the request has been cancelled already."""
        self._cancels[owner] = cancel
        if self._closed:
            self.cancel()

    def discard(self, owner: object) -> None:
        self._cancels.pop(owner, None)

    def cancel(self) -> None:
        """Cancel every open call. The replica calls this when the request is cancelled; later calls end at once."""
        self._closed = True
        while self._cancels:
            _, cancel = self._cancels.popitem()
            cancel()

    def __len__(self) -> int:
        return len(self._cancels)


@dataclass(slots=True, eq=False)
class RequestContext:
    """The request on whose behalf user code runs. Never changed; frozen would cost each request a microsecond."""

    request_id: str
    route: str = ""
    model_id: str = ""
    app: str = "default"
    chain: tuple[str, ...] = ()  # deployments on the way here, outermost first, the current one last
    deadline: float | None = None  # a moment of time.monotonic(): calls made by this request inherit what is left
    calls: OpenCalls = field(default_factory=OpenCalls, repr=False)


@dataclass(slots=True, eq=False)
class Call:
    """One call of a handle: where it goes, with which arguments, on behalf of which request."""

    deployment: str
    method: str
    model: str
    arguments: Encoded
    request: RequestContext | None = None
    timeout_s: float | None = None


class CallTransport(Protocol):
    """How a handle reaches a deployment: over the replica's link, or over a script's own."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that ``start``, ``call`` and ``stream`` run on."""

    def pack(self, deployment: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Encoded:
        """Return the arguments of a call, ready to travel; in any thread. Raises what pickling raises."""

    def start(self, call: Call) -> asyncio.Future[object] | None:
        """Start a call at once, on the loop, and return the future of what ``call`` returns or raises.

        Cancelling the future cancels the call. None where something has to be awaited first: then ``call`` makes it.
        """

    async def call(self, call: Call) -> object:
        """Return the method's result, or raise what it raised with the remote traceback as its cause.

        The call is cancelled at its receiver when this coroutine is cancelled. Raises ``CallTimeout`` after the
        call's ``timeout_s``, and the errors of ``runtime.errors`` that a request can be answered with.
        """

    def stream(self, call: Call) -> AsyncIterator[object]:
        """Yield the items of a generator method. Closing the iterator cancels the call at its receiver."""


class ReplicaContext(Protocol):
    """The replica that runs this code. ``servable_object`` is the deployment's instance (or its function)."""

    @property
    def app_name(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def replica_id(self) -> str:
        """The short id, as in ``EjYmnQ``."""

    @property
    def replica_tag(self) -> str:
        """Application, deployment and id, as in ``default_Model#EjYmnQ``."""

    @property
    def servable_object(self) -> object: ...
    @property
    def transport(self) -> CallTransport: ...

    async def load_model(self, cache: int, model_id: str, owner: object | None) -> object:
        """Return the resident model, loaded if need be; leased to the current request until that ends.

        Raises what the user's loader raised, or the error of ``runtime.errors`` that says why not now.
        """


request_context: ContextVar[RequestContext | None] = ContextVar("mux_request", default=None)

_local_replica: ContextVar[ReplicaContext | None] = ContextVar("mux_replica", default=None)
_process_replica: ReplicaContext | None = None

batch_members: ContextVar[Sequence[Context]] = ContextVar("mux_batch_members", default=())
"""Inside a batch: the context of each member, so that a model which the batch asks for is leased to all of them."""


def set_replica_context(context: ReplicaContext | None) -> None:
    """Say which replica this process is; None when it stops being one."""
    global _process_replica
    _process_replica = context


def current_replica() -> ReplicaContext | None:
    """Return the replica that this code runs in, or None outside one."""
    return _local_replica.get() or _process_replica


def enter_replica(context: ReplicaContext) -> None:
    """Make ``context`` the current replica of this ``contextvars.Context``, over the process's own."""
    _local_replica.set(context)


@contextmanager
def replica_scope(context: ReplicaContext) -> Iterator[None]:
    """Make ``context`` the current replica within the block: several replicas can share one process."""
    token = _local_replica.set(context)
    try:
        yield
    finally:
        _local_replica.reset(token)


def get_replica_context() -> ReplicaContext:
    """Return the current replica: ``app_name``, ``deployment``, ``replica_id``, ``replica_tag``, ``servable_object``.

    Raises ``RuntimeError`` outside a replica.
    """
    replica = current_replica()
    if replica is None:
        raise RuntimeError("serve.get_replica_context() was called outside a replica; it works in a deployment's code")
    return replica


def get_multiplexed_model_id() -> str:
    """Return the model id that the current request names, or "" if it names none.

    Works in the request's handler, in tasks and threads that run in its context, and in streams. Inside
    ``@serve.batch`` it is the id that every member of the batch named.
    """
    request = request_context.get()
    return request.model_id if request is not None else ""
