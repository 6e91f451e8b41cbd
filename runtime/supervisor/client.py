"""The control API as the CLI and ``serve.run`` use it: blocking calls over the project's Unix socket.

Its imports are light: nothing of the server's side comes with it.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec

from runtime.errors import NotRunning
from runtime.project import Project
from runtime.supervisor.api import (
    ApplyRequest,
    DownRequest,
    Event,
    ExplainAnswer,
    ModelRequest,
    ModelsAnswer,
    ProjectStatus,
    RestartRequest,
    ScaleRequest,
    WaitRequest,
)
from runtime.supervisor.failures import from_payload
from runtime.supervisor.record import read_record

READ_TIMEOUT_S: Final = 10.0
CHANGE_TIMEOUT_S: Final = 3600.0  # the supervisor's own limit, of load_timeout_s, comes first

Answer = TypeVar("Answer")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ControlClient:
    """Speaks to the supervisor of one project. Every method raises NotRunning if there is none.

    Those that return events raise only that: their last event has kind ``done`` or ``failed``, and
    ``failures.from_event`` makes an error of the latter. A supervisor that ends in the middle is NotRunning.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        record = read_record(project)
        recorded = record.control_socket if record else ""
        self._path = recorded or str(project.control_socket)

    def ping(self) -> bool:
        """Return whether a supervisor takes connections."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(READ_TIMEOUT_S)
            return probe.connect_ex(self._path) == 0

    def status(self) -> ProjectStatus:
        """Return the project's status."""
        return self._get("/v1/status", ProjectStatus)

    def apply(self, request: ApplyRequest) -> Iterator[Event]:
        """Deploy a config."""
        return self._events("/v1/apply", request)

    def wait(self, request: WaitRequest) -> Iterator[Event]:
        """Follow until everything is ready."""
        return self._events("/v1/wait", request)

    def scale(self, request: ScaleRequest) -> Iterator[Event]:
        """Change numbers of replicas."""
        return self._events("/v1/scale", request)

    def restart(self, request: RestartRequest) -> Iterator[Event]:
        """Replace replicas one by one."""
        return self._events("/v1/restart", request)

    def down(self, request: DownRequest) -> Iterator[Event]:
        """Take the project down."""
        return self._events("/v1/down", request)

    def models(self, deployment: str = "") -> ModelsAnswer:
        """Return what is resident, loading or waited for."""
        return self._get("/v1/models", ModelsAnswer, deployment=deployment)

    def model_action(self, verb: str, request: ModelRequest) -> ModelsAnswer:
        """``verb``: load, unload, pin or unpin. Raises what the children refuse with."""
        response = self._request("POST", f"/v1/models/{verb}", request, CHANGE_TIMEOUT_S)
        return self._answer(response, ModelsAnswer)

    def explain(self, *, request_id: str = "", model: str = "") -> ExplainAnswer:
        """Return why a request or a model went where it went. Raises NoSuchThing."""
        return self._get("/v1/explain", ExplainAnswer, request_id=request_id, model=model)

    # --- over the socket

    def _get(self, path: str, shape: type[Answer], **query: str) -> Answer:
        given = {key: value for key, value in query.items() if value}
        where = f"{path}?{urlencode(given)}" if given else path
        return self._answer(self._request("GET", where, None, READ_TIMEOUT_S), shape)

    def _events(self, path: str, request: msgspec.Struct) -> Iterator[Event]:
        """Yield events until the last; a stream may be silent for as long as a load takes."""
        connection = self._request("POST", path, request, None)
        try:
            response = connection.getresponse()
            if response.status != 200:
                raise from_payload(msgspec.json.decode(response.read()))
            while line := response.readline():
                event = msgspec.json.decode(line, type=Event)
                yield event
                if event.kind in ("done", "failed"):
                    return
        except (OSError, http.client.HTTPException) as exc:
            raise self._gone() from exc
        finally:
            connection.close()
        raise self._gone()

    def _request(self, method: str, path: str, body: msgspec.Struct | None, timeout_s: float | None) -> _UnixConnection:
        connection = _UnixConnection(self._path, timeout_s)
        data = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        except OSError as exc:
            connection.close()
            raise NotRunning(
                f"The project {self.project.name!r} is not running.", hint="Start it with `mux deploy`."
            ) from exc
        return connection

    def _answer(self, connection: _UnixConnection, shape: type[Answer]) -> Answer:
        try:
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise self._gone() from exc
        finally:
            connection.close()
        if response.status != 200:
            raise from_payload(msgspec.json.decode(data))
        return msgspec.json.decode(data, type=shape)

    def _gone(self) -> NotRunning:
        return NotRunning(
            f"The supervisor of {self.project.name!r} went away in the middle of an answer.",
            hint="`mux logs supervisor` tells why; `mux deploy` starts it again.",
        )
