"""Running applications from a script, and reaching those that run: ``serve.run``, ``serve.status``, handles."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Never

from runtime.errors import NotRunning
from runtime.serve.application import Application
from runtime.serve.context import CallTransport, current_replica
from runtime.serve.deployment import Deployment
from runtime.serve.handle import DeploymentHandle
from runtime.serve.overview import ServeStatus, from_project

if TYPE_CHECKING:
    from runtime.project import Project


REFUSED: Final[dict[str, str]] = {
    "proxy_location": "`http.routers` in the YAML says how many routers share the port",
    "grpc_options": "there is no gRPC",
    "logging_config": "every process writes structured logs; read them with `mux logs --level --json`",
    "tracing_config": "there is no tracing exporter; logs and metrics carry the request id",
    "controller_options": "there is no controller actor",
    "detached": "serve.run ends with its script; `mux deploy` is for what stays",
    "dedicated_cpu": "there are no Ray actors",
    "external_scaler_enabled": "the number of replicas is yours: num_replicas, or `mux scale`",
    "_local_testing_mode": "use serve.testing.client(app), which runs the replica's own code without processes",
}
"""Arguments of Ray Serve's ``run`` and ``start`` that have no meaning here, with the reason."""


def start(*, http_options: Mapping[str, Any] | None = None, **refused: Never) -> None:
    """Say where ``serve.run`` listens, before its first call: the keys of ``http`` in the YAML, as ``{"port": 8001}``.

    Raises ``TypeError`` for another argument of Ray Serve's, with the reason, and ``ValueError`` for an unknown key or
    a wrong value.
    """
    from runtime.config import Http
    from runtime.serve.session import session
    from runtime.serve.validation import validated

    _refuse("start", refused)
    if http_options is not None:
        session.http = validated(Http, http_options).model_dump(mode="json", exclude_unset=True)


def run(
    target: Application | Deployment[Any],
    blocking: bool = False,
    name: str = "default",
    route_prefix: str | None = "/",
    **refused: Never,
) -> DeploymentHandle:
    """Deploy an application from the script that defines it, for development, and return its ingress's handle.

    Starts a project of its own (supervisor, router, replicas) as ``mux deploy`` does, and waits until it is ready;
    a second call brings changes or another application. Everything is taken down when the process ends, killed or
    not; with ``blocking`` it ends on Ctrl-C or SIGTERM. Replicas import the script: ``target`` must be a variable of
    its top level, and this call must stand below ``if __name__ == "__main__":``.

    Raises ``TypeError`` for another argument of Ray Serve's, with the reason; ``ValueError`` where the application
    cannot be imported, or another one has its route or a deployment of its name; and the deploy's errors:
    ``StartError`` with the user's own traceback, ``PortInUse``, ``ConfigError``.
    """
    _refuse("run", refused)
    if current_replica() is not None or _is_being_imported_by_a_replica():
        raise RuntimeError('serve.run() was called in a replica: put it below `if __name__ == "__main__":`')
    if not isinstance(target, Application | Deployment):
        raise TypeError(f"serve.run() takes an application, as Model.bind() returns, not {type(target).__name__}")
    from runtime.serve.session import session

    app = target if isinstance(target, Application) else _bound(target)
    ingress = session.run(app, name, route_prefix)
    assert session.project is not None
    handle = deployment_handle(session.project, ingress, name)
    if blocking:
        with _told_to_stop() as stopped:
            try:
                print(session.greeting(), file=sys.stderr, flush=True)
                session.wait(stopped)
            finally:
                session.shutdown()
    return handle


def _refuse(function: str, given: Mapping[str, Never]) -> None:
    for name in given:
        why = f"no {name!r} here: {REFUSED[name]}" if name in REFUSED else f"no argument {name!r}"
        raise TypeError(f"serve.{function}() has {why}")


def _bound(deployment: Deployment[Any]) -> Application:
    return deployment.bind()


def _is_being_imported_by_a_replica() -> bool:
    main = sys.modules.get("__main__")
    return getattr(getattr(main, "__spec__", None), "name", None) == "runtime.replica.__main__"


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, where this thread may handle signals."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def delete(name: str) -> None:
    """Take down an application that ``serve.run`` of this process started. Raises ``NotRunning``."""
    from runtime.serve.session import session

    session.delete(name)


def shutdown() -> None:
    """Take down what ``serve.run`` of this process started, and close its handles.

    A project that ``mux deploy`` started goes on: ``mux down`` is for that.
    """
    from runtime.serve.session import session

    session.shutdown()


async def shutdown_async() -> None:
    """Do as ``shutdown``, in a thread."""
    import asyncio

    await asyncio.to_thread(shutdown)


def status() -> ServeStatus:
    """Return what runs: of this process's ``serve.run``, else of the deployed project; empty if nothing does."""
    from runtime.serve.session import session
    from runtime.supervisor.client import ControlClient

    try:
        return from_project(ControlClient(session.project or _project()).status())
    except NotRunning:
        return ServeStatus()


def get_deployment_handle(deployment_name: str, app_name: str | None = None) -> DeploymentHandle:
    """Return a handle of a deployment by its name; ``app_name`` defaults to the replica's own, else ``default``.

    In a replica it is reached as a bound one is; in a script, over the project's socket, and names are checked now:
    ``NotRunning``, ``NoSuchThing``. The project is that of ``serve.run``, else of MUX_PROJECT, else of the nearest
    ``mux.yaml``, else the only one.
    """
    replica = current_replica()
    if replica is not None:
        return DeploymentHandle(deployment_name, app_name or replica.app_name)
    return deployment_handle(_project(), deployment_name, app_name or "default")


def get_app_handle(name: str = "default") -> DeploymentHandle:
    """Return a handle of an application's ingress. Raises ``NotRunning`` and ``NoSuchThing``."""
    return app_handle(_project(), name)


def deployment_handle(
    project: Project, name: str, app_name: str, *, transport: CallTransport | None = None
) -> DeploymentHandle:
    """Return a handle of a deployment of ``project``, whose names are checked now."""
    from runtime.serve.location import check_deployment

    check_deployment(project, name, app_name)
    return DeploymentHandle(name, app_name, transport=transport or _transport(project))


def app_handle(project: Project, app_name: str) -> DeploymentHandle:
    """Return a handle of the ingress of an application of ``project``."""
    from runtime.serve.location import ingress_name

    return DeploymentHandle(ingress_name(project, app_name), app_name, transport=_transport(project))


def _transport(project: Project) -> CallTransport | None:
    """Return the way to a project; None in a replica, whose own transport is taken at each call."""
    if current_replica() is not None:
        return None
    from runtime.serve.remote import transport_to

    return transport_to(project)


def _project() -> Project:
    from runtime.serve.location import find_project
    from runtime.serve.session import session

    return session.project or find_project()
