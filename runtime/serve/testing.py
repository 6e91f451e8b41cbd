"""Testing a deployment without processes: ``with serve.testing.client(Model.bind()) as client: ...``.

The replica's own code runs in a thread of the test: the real residency (slots, leases, evictions), real batching,
real handles between deployments, over links that are socket pairs. There is no router and no queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json as jsonlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runtime.errors import NoSuchThing
from runtime.link.connection import Link
from runtime.link.frames import RequestHead
from runtime.serve.application import Application
from runtime.serve.deployment import Deployment
from runtime.serve.handle import DeploymentHandle
from runtime.serve.local_http import HttpAnswer
from runtime.serve.local_http import request as http_request
from runtime.serve.local_replica import LocalReplica, ModelRecord
from runtime.serve.loop_thread import LoopThread
from runtime.serve.transport import LinkTransport

__all__ = ["HttpAnswer", "ModelRecord", "ServeClient", "client"]

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
MODEL_HEADER: Final = "serve_multiplexed_model_id"


class LocalTransport(LinkTransport):
    """Handle calls between deployments of one test: straight over the callee's link."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.replicas: dict[str, LocalReplica] = {}
        self._loop = loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def link_now(self, deployment: str) -> Link:
        return self.replica(deployment).link

    async def link(self, deployment: str) -> Link:
        return self.replica(deployment).link

    def replica(self, deployment: str) -> LocalReplica:
        """Return the replica of a deployment. Raises ``NoSuchThing``."""
        found = self.replicas.get(deployment)
        if found is None:
            names = ", ".join(self.replicas)
            raise NoSuchThing(f"the application has no deployment {deployment!r}", hint=f"it has: {names}")
        return found


class ServeClient:
    """A running application of one test. Every method blocks; handles work from any thread or event loop."""

    def __init__(self, thread: LoopThread, transport: LocalTransport, ingress: str, app_name: str) -> None:
        self._thread = thread
        self._transport = transport
        self._ingress = ingress
        self._app_name = app_name
        self._numbers = itertools.count(1)

    @property
    def handle(self) -> DeploymentHandle:
        """A handle of the ingress."""
        return self.get_handle(self._ingress)

    def get_handle(self, deployment: str) -> DeploymentHandle:
        """Return a handle of any deployment. Raises ``NoSuchThing``."""
        self._transport.replica(deployment)
        return DeploymentHandle(deployment, self._app_name, transport=self._transport)

    @property
    def models(self) -> ModelRecord:
        """What happened to the models of the only deployment with loaders; ``models_of`` where there are several."""
        with_loaders = [name for name, replica in self._transport.replicas.items() if replica.servable.caches]
        if len(with_loaders) != 1:
            raise NoSuchThing(f"{len(with_loaders)} deployments have multiplexed loaders", hint="use models_of(name)")
        return self.models_of(with_loaders[0])

    def models_of(self, deployment: str) -> ModelRecord:
        """Return what happened to the models of a deployment: ``loads``, ``unloads``, ``resident``, ``hits``."""
        return self._transport.replica(deployment).record

    @property
    def errors(self) -> list[str]:
        """What replicas logged as errors: tracebacks of user code behind a 500."""
        return [error for replica in self._transport.replicas.values() for error in replica.errors]

    def instance(self, deployment: str = "") -> Any:
        """Return the deployment's instance (of the ingress by default), to look into."""
        return self._transport.replica(deployment or self._ingress).servable_object

    def request(
        self,
        model_id: str = "",
        *,
        method: str = "",
        path: str = "/",
        json: Any = None,
        data: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        """Send an HTTP request to the ingress and return its answer, whatever its status.

        ``method`` defaults to POST with a body, else GET. The header names the model as well as ``model_id`` does.
        Raises ``TimeoutError``, and the error of a refusal.
        """
        body = jsonlib.dumps(json).encode() if json is not None else data.encode() if isinstance(data, str) else data
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            given.setdefault("content-type", "application/json")
        if model_id:
            given[MODEL_HEADER] = model_id
        model_id = {name.replace("-", "_"): value for name, value in given.items()}.get(MODEL_HEADER, "")
        if body:
            given["content-length"] = str(len(body))
        given.setdefault("host", "testserver")
        number = next(self._numbers)
        head = _request_head(method or ("POST" if body else "GET"), path, given, model_id, f"test-{number}", timeout_s)
        link = self._transport.replica(self._ingress).link
        return self._thread.run(http_request(link, head, body), timeout_s)

    def reconfigure(self, user_config: Any, deployment: str = "") -> None:
        """Hand a new ``user_config`` to a deployment (the ingress by default), as a changed YAML does."""
        self._thread.run(self._transport.replica(deployment or self._ingress).reconfigure(user_config), START_TIMEOUT_S)

    def check_health(self, deployment: str = "") -> None:
        """Run a deployment's ``check_health`` (the ingress's by default); raises what it raises."""
        self._thread.run(self._transport.replica(deployment or self._ingress).check_health(), START_TIMEOUT_S)


@contextlib.contextmanager
def client(
    target: Application | Deployment[Any],
    *,
    name: str = "default",
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[ServeClient]:
    """Run an application in this process, one replica for each deployment, for as long as the block lasts.

    ``config`` holds keys of the YAML by deployment name, which go before what the code says:
    ``{"Model": {"max_num_models_per_replica": 1, "user_config": {"threshold": 0.5}}}``. Raises what constructing
    the deployments raises.
    """
    app = target if isinstance(target, Application) else target.bind()
    bound = app.deployments(name)
    unknown = set(config or {}) - {one.name for one in bound}
    if unknown:
        raise NoSuchThing(f"config names {', '.join(sorted(unknown))}, which the application does not have")
    thread = LoopThread("mux-test")
    transport = LocalTransport(thread.loop)
    with contextlib.ExitStack() as stack:
        stack.callback(thread.close, STOP_TIMEOUT_S)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mux-test-")))
        stack.callback(lambda: thread.run(_stop(transport), STOP_TIMEOUT_S))

        async def start() -> None:
            for one in bound:
                own = dict((config or {}).get(one.name, {}))
                replica = LocalReplica(one, name, transport, folder, own)
                transport.replicas[one.name] = replica
                await replica.start()

        thread.run(start(), START_TIMEOUT_S)
        yield ServeClient(thread, transport, bound[-1].name, name)


async def _stop(transport: LocalTransport) -> None:
    """Stop the replicas, callers before those that they call."""
    for replica in reversed(transport.replicas.values()):
        await replica.stop()


def _request_head(
    method: str, path: str, headers: Mapping[str, str], model_id: str, request_id: str, timeout_s: float
) -> RequestHead:
    plain, _, query = path.partition("?")
    return RequestHead(
        method=method,
        path=plain,
        raw_path=plain.encode(),
        query=query.encode(),
        scheme="http",
        http_version="1.1",
        client=("testclient", 50000),
        server=("testserver", 80),
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        route="",
        model=model_id,
        request_id=request_id,
        time_left_ms=max(1, int(timeout_s * 1000)),
    )
