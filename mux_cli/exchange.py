"""One HTTP exchange with a project's public address: what ``mux request`` sends and gets. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from mux_cli.exits import RequestFailed, UsageProblem

SILENCE_LIMIT_S = 600.0  # without --timeout: longer than a model may load by default (load_timeout_s: 300)
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. ``body``: bytes, a file to be streamed, or nothing."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | Path | None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's head and times. ``ms`` runs until the last byte of the body."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    ms: float

    def header(self, name: str) -> str:
        """Return the first value of a header, any case; empty if absent."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Exchange:
    """A connection to one base address, kept open between requests."""

    def __init__(self, base: str) -> None:
        """``base``: ``http://host:port`` with an optional path; raises ``UsageProblem`` if it is not a URL."""
        parts = urlsplit(base if "://" in base else f"http://{base}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageProblem(f"'{base}' is not an http address.", hint="Write it as http://host:port")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname, parts.hostname)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.base = base
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(host, parts.port, timeout=SILENCE_LIMIT_S)

    def close(self) -> None:
        self._connection.close()

    def send(self, request: Outgoing, on_head: Callable[[Answer], None], on_body: Callable[[bytes], None]) -> Answer:
        """Send ``request``; hand over the head, then the body piece by piece as it arrives.

        Raises ``RequestFailed`` if there is no answer, or if it breaks off.
        """
        limit = SILENCE_LIMIT_S if request.timeout_s is None else request.timeout_s + 1.0
        self._connection.timeout = limit
        if self._connection.sock is not None:
            self._connection.sock.settimeout(limit)
        started = time.perf_counter()
        with _failures_named(self.base):
            self._write(request)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.reason, response.getheaders(), _ms_since(started))
            on_head(answer)
            size = response.length
            while chunk := response.read1(CHUNK_BYTES):
                size = None if size is None else size - len(chunk)
                on_body(chunk)
            if size:  # read1 takes an early end for the end
                raise http.client.IncompleteRead(b"", size)
            response.read()  # nothing is left; this frees the connection for the next request
        return Answer(answer.status, answer.reason, answer.headers, _ms_since(started))

    def _write(self, request: Outgoing) -> None:
        target = self._prefix + quote(request.target, safe="/?&=%:@!$'()*+,;~-._[]")
        names = {name.lower() for name, _ in request.headers}
        with contextlib.ExitStack() as stack:
            body: bytes | BinaryIO | None = request.body if isinstance(request.body, bytes) else None
            size = len(request.body) if isinstance(request.body, bytes) else None
            if isinstance(request.body, Path):
                body = stack.enter_context(request.body.open("rb"))
                size = request.body.stat().st_size
            self._connection.putrequest(request.method, target, skip_accept_encoding=True, skip_host="host" in names)
            for name, value in request.headers:
                self._connection.putheader(name, value)
            if size is not None and "content-length" not in names:
                self._connection.putheader("content-length", str(size))
            # a server may answer (413, 503) and hang up before it has read the body; its answer is still there
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.endheaders(body)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0


@contextlib.contextmanager
def _failures_named(base: str) -> Iterator[None]:
    """Turn what sockets and http.client raise into ``RequestFailed`` with the address in it."""
    try:
        yield
    except ConnectionRefusedError as exc:
        raise RequestFailed(
            f"Nothing listens at {base} (connection refused).", hint="See 'mux status', or start it with 'mux deploy'."
        ) from exc
    except TimeoutError as exc:
        raise RequestFailed(f"{base} did not answer in time.", hint="Allow more with --timeout SECONDS.") from exc
    except http.client.RemoteDisconnected as exc:
        raise RequestFailed(f"{base} closed the connection without an answer.", hint="See 'mux logs'.") from exc
    except http.client.IncompleteRead as exc:
        raise RequestFailed("The answer broke off before its end.", hint="See 'mux logs'.") from exc
    except UnicodeEncodeError as exc:
        raise UsageProblem(f"A header cannot hold {exc.object!r}: only Latin-1 text is possible.") from exc
    except ValueError as exc:  # http.client refuses line breaks and the like in heads
        raise UsageProblem(f"The request cannot be written: {exc}") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise RequestFailed(f"No answer from {base}: {exc or type(exc).__name__}", hint="See 'mux status'.") from exc
