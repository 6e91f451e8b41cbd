"""The project that ``serve.run`` starts for a script: the same supervisor and the same deploy as the CLI's."""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import MuxError, NotRunning
from runtime.project import Project, project_for
from runtime.serve.application import Application
from runtime.serve.remote import close_transports
from runtime.serve.source import Source, find_source
from runtime.serve.validation import validated

if TYPE_CHECKING:
    from runtime.supervisor.api import Event
    from runtime.supervisor.client import ControlClient

logger: Final = logging.getLogger("runtime.serve")
IN_CODE_ONLY: Final = "user_config"  # any value: the replica takes it from the code, the config only knows mappings


class Session:
    """The applications that this process runs, as one project. It is taken down when the process ends."""

    def __init__(self) -> None:
        self.project: Project | None = None
        self.http: dict[str, Any] = {}
        self._root = Path()
        self._applications: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def run(self, app: Application, name: str, route_prefix: str | None) -> str:
        """Deploy ``app`` beside the others and wait until it is ready; return its ingress's name.

        Raises the deploy's error (``StartError`` with the user's traceback if the code cannot start).
        """
        source = find_source(app)
        with self._lock:
            if self.project is None:
                self.project = project_for(_slug(source.anchor.stem), source.anchor)
                self._root = source.root
                atexit.register(self.shutdown)
            elif source.root != self._root:
                raise ValueError(
                    f"this script runs applications from {self._root}; one from {source.root} is another project"
                )
            before = self._applications
            fresh = deployments_of(app, name, route_prefix, source)
            refuse_clashes(name, fresh, before)
            self._applications = {**before, name: fresh}
            try:
                self._apply()
            except BaseException:
                self._applications = before
                if not before:  # it goes down by itself, and the next run must not come upon it
                    self._end()
                raise
            return app.ingress.name

    def delete(self, name: str) -> None:
        """Take one application down; the last one takes the project along."""
        with self._lock:
            if name not in self._applications:
                raise NotRunning(f"this process runs no application {name!r}")
            del self._applications[name]
            if self._applications:
                self._apply()
                return
        self.shutdown()

    def shutdown(self) -> None:
        """Take the project down and close this process's handles. Without one it does nothing."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        project, self.project, self._applications = self.project, None, {}
        atexit.unregister(self.shutdown)
        close_transports()
        if project is not None:
            _take_down(project)

    def client(self) -> ControlClient:
        """Return a client of the running project. Raises ``NotRunning``."""
        from runtime.supervisor.client import ControlClient

        if self.project is None:
            raise NotRunning("this process runs nothing: serve.run(app) was not called")
        return ControlClient(self.project)

    def greeting(self) -> str:
        """Return where the project answers and where its logs are: a terminal shows nothing else of it."""
        client = self.client()
        return (
            f"{client.status().url} answers; `mux logs -f -p {client.project.name}` follows its logs; Ctrl-C ends it."
        )

    def wait(self, ended: threading.Event, every_s: float = 1.0) -> None:
        """Block until ``ended`` is set. Raises ``NotRunning`` when the project has gone meanwhile."""
        while not ended.wait(every_s):
            if not self.client().ping():
                raise NotRunning("the project was taken down from elsewhere")

    def _apply(self) -> None:
        from runtime.config import Config, code_digests
        from runtime.supervisor.api import ApplyRequest
        from runtime.supervisor.launch import ensure_supervisor

        assert self.project is not None
        deployments = [deployment for own in self._applications.values() for deployment in own]
        config = validated(Config, {"name": self.project.name, "http": self.http, "deployments": deployments})
        request = ApplyRequest(
            config=config.model_dump(mode="json", exclude_unset=True),
            env={**os.environ, "MUX_PROJECT": str(self.project.config_path)},
            digests=code_digests(config, self._root),
            owner=os.getpid(),
        )
        _follow(ensure_supervisor(self.project, request.env).apply(request))


def deployments_of(app: Application, name: str, route_prefix: str | None, source: Source) -> list[dict[str, Any]]:
    """Return the application's deployments as the YAML would say them; what code leaves open stays open."""
    found: list[dict[str, Any]] = []
    for bound in app.deployments(name):
        settings = bound.deployment.settings
        options = {key: value for key, value in settings.explicit().items() if key != IN_CODE_ONLY}
        found.append({
            "name": bound.name,
            "application": name,
            "import_path": source.import_path,
            "route_prefix": route_prefix if bound.ingress else None,
            "num_replicas": settings.num_replicas,
            **options,
        })  # fmt: skip
    return found


def refuse_clashes(name: str, fresh: list[dict[str, Any]], applications: Mapping[str, list[dict[str, Any]]]) -> None:
    """Raise ``ValueError`` where another application has a deployment of the same name, or the same route."""
    theirs = [(other, there) for other, own in applications.items() if other != name for there in own]
    for one in fresh:
        for other, there in theirs:
            if one["name"] == there["name"]:
                raise ValueError(
                    f"application {name!r} has a deployment called {one['name']!r}, as {other!r} has: names are one of "
                    "a kind in a project; call it something else with .options(name=...)"
                )
            if one["route_prefix"] is not None and one["route_prefix"] == there["route_prefix"]:
                raise ValueError(
                    f"application {name!r} has the route_prefix {one['route_prefix']!r}, as {other!r} has: "
                    "choose another, or None if only handles reach it"
                )


def _take_down(project: Project) -> None:
    from runtime.supervisor.api import DownRequest
    from runtime.supervisor.client import ControlClient

    try:
        _follow(ControlClient(project).down(DownRequest()))
    except NotRunning:
        logger.info("%s was down already", project.name)


def _follow(events: Iterator[Event]) -> None:
    """Log the events as they come. Raises the error of a failed one."""
    from runtime.supervisor.failures import from_event

    for event in events:
        if event.kind == "failed":
            raise _with_traceback(from_event(event), event.traceback)
        if event.message:
            logger.log(logging.WARNING if event.kind == "warn" else logging.INFO, "%s", event.message)


def _with_traceback(error: MuxError, traceback: str) -> MuxError:
    if traceback:
        error.add_note(traceback.rstrip())
    return error


def _slug(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", stem).strip("-_.")[:50] or "app"


session: Final = Session()
