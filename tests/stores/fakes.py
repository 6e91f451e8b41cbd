"""An S3 endpoint that counts, stalls and fails as it is told: what moto cannot do."""

from __future__ import annotations

import threading
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class FakeS3:
    """Objects by path (``/bucket/key``). ``stall`` holds a GET after its first half until ``go_on``."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gets = 0  # GETs of objects so far
        self.status = 200  # what every request is answered with, if not 200
        self.stall = False
        self.replacements: list[bytes] = []  # each GET first puts the next of them in the object's place
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: ClassVar[FakeS3]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self.fake.gets += 1
        if self.fake.replacements:
            self.fake.objects[self.path] = self.fake.replacements.pop(0)
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        body = self.fake.objects.get(self.path)
        etag = f'"{md5(body or b"", usedforsecurity=False).hexdigest()}"'
        wanted = self.headers.get("If-Match", etag)
        status = self.fake.status if self.fake.status != 200 else 404 if body is None else 200
        if status == 200 and wanted != etag:
            status = 412
        if status != 200:
            code = {412: "PreconditionFailed", 403: "AccessDenied"}.get(status, "Broken")
            body = b"<Error><Code>%s</Code></Error>" % code.encode() if with_body else b""
        assert body is not None
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        self.end_headers()
        if not with_body:
            return
        half = len(body) // 2
        if self.fake.stall and status == 200:
            self.wfile.write(body[:half])
            self.fake.half_sent.set()
            self.fake.go_on.wait(30)
            body = body[half:]
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):  # the client was killed, as tests do
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""
