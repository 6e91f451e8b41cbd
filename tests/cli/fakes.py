"""Small servers that stand in for a project: its public address, and its supervisor's control socket."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, ThreadingUnixStreamServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from runtime.errors import MuxError
from runtime.supervisor.api import Event
from runtime.supervisor.failures import to_payload


@dataclass
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """``chunks``: sent one by one as they come, chunked; ``cut``: promise more than is sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: Iterable[bytes] | None = None
    cut: bool = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any  # a BaseServer with ``received`` and ``answer``

    def handle_any(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        names = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, names, self.rfile.read(size))
        self.server.received.append(received)
        reply = self.server.answer(received)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunks is not None:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for chunk in reply.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("content-length", str(len(reply.body) + (10 if reply.cut else 0)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = reply.cut

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a test's output is its own."""


class _Fake:
    """A server in a thread. It answers with ``reply``, or what ``answer`` says; ``received`` holds what came."""

    def __init__(self) -> None:
        self.reply = Reply(body=b'{"y": 1}', headers={"content-type": "application/json"})
        self.received: list[Received] = []
        self.answer: Callable[[Received], Reply] = lambda _: self.reply

    def _bind(self) -> BaseServer:
        raise NotImplementedError

    def __enter__(self) -> Self:
        server: Any = self._bind()
        server.daemon_threads = True
        server.handle_error = lambda *whose: _tell(server, *whose)
        server.received = self.received
        server.answer = lambda received: self.answer(received)
        self.server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


def _tell(server: BaseServer, request: Any, address: Any) -> None:
    """A client that leaves before it has its answer is no fault; anything else is told."""
    if not isinstance(sys.exception(), ConnectionError):
        BaseServer.handle_error(server, request, address)


class WebServer(_Fake):
    """A public address."""

    def _bind(self) -> BaseServer:
        return ThreadingHTTPServer(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


class FakeSupervisor(_Fake):
    """The control API on a Unix socket: ``answers`` maps "GET /v1/status" to a struct, events or an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.answers: dict[str, msgspec.Struct | Iterable[Event] | MuxError] = {}
        self.answer = self._control

    def _bind(self) -> BaseServer:
        return ThreadingUnixStreamServer(str(self.path), _Handler)

    def _control(self, received: Received) -> Reply:
        answer = self.answers[f"{received.method} {urlsplit(received.target).path}"]
        if isinstance(answer, MuxError):
            return Reply(answer.status, {"content-type": "application/json"}, msgspec.json.encode(to_payload(answer)))
        if isinstance(answer, msgspec.Struct):
            return Reply(200, {"content-type": "application/json"}, msgspec.json.encode(answer))
        lines = (msgspec.json.encode(event) + b"\n" for event in answer)
        return Reply(200, {"content-type": "application/x-ndjson"}, chunks=lines)

    def asked(self, shape: type[Any]) -> Any:
        """Return the body of the last request that had one."""
        return msgspec.json.decode([one.body for one in self.received if one.body][-1], type=shape)
