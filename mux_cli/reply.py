"""From an answer to what is shown: the body, who served it and how, and what went wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from mux_cli.exchange import Answer
from mux_cli.exits import RequestFailed


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer outside 2xx. ``ours``: mux wrote it, so that the message tells all that the body does."""

    error: RequestFailed
    ours: bool


def failure(answer: Answer, body: bytes) -> Failure:
    """Return the error that an answer stands for, with the message and hint of mux if it is one of ours."""
    status = f"{answer.status} {answer.reason}".strip()
    try:
        payload = json.loads(body)
        code, message = str(payload["error"]), str(payload["message"])
        hint, request_id = str(payload.get("hint") or ""), str(payload["request_id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        moved = answer.header("location")
        return Failure(RequestFailed(f"The answer was {status}." + (f" Location: {moved}" if moved else "")), False)
    if retry := answer.header("retry-after"):
        hint = f"{hint} Try again in {retry} s.".strip()
    if not hint and request_id and answer.status >= 500:
        hint = f"See 'mux logs --grep {request_id}'."
    return Failure(RequestFailed(f"{status}: {message or code} ({code})", hint=hint), True)


def served_by(answer: Answer) -> str:
    """Return "served by Model#EjYmnQ · hit · 2.3 ms"; without the replica where the router itself answered."""
    replica = answer.header("x-mux-replica")
    parts = [f"served by {replica}" if replica else f"answered {answer.status}"]
    load, queue = _ms(answer.header("x-mux-load-ms")), _ms(answer.header("x-mux-queue-ms"))
    cache = answer.header("x-mux-cache")
    match cache:
        case "hit":
            parts.append("hit")
        case "load":
            parts.append(f"loaded in {load:.0f} ms" if load is not None else "loaded")
        case "wait":
            parts.append(f"waited {load:.0f} ms for its load" if load is not None else "waited for its load")
    if queue is not None and queue >= 1.0 and cache not in ("load", "wait"):  # there it is the load's time again
        parts.append(f"queued {queue:.1f} ms")
    parts.append(f"{answer.ms:.1f} ms")
    return " · ".join(parts)


def to_payload(answer: Answer, body: bytes) -> dict[str, Any]:
    """Return an answer for ``--json``. ``body`` is JSON, else text, else null with ``body_bytes`` as its size."""
    try:
        shown: Any = json.loads(body)
    except ValueError:
        try:
            shown = body.decode()
        except UnicodeDecodeError:
            shown = None
    return {
        "status": answer.status,
        "request_id": answer.header("x-request-id"),
        "replica": answer.header("x-mux-replica"),
        "cache": answer.header("x-mux-cache"),
        "queue_ms": _ms(answer.header("x-mux-queue-ms")),
        "load_ms": _ms(answer.header("x-mux-load-ms")),
        "ms": round(answer.ms, 3),
        "headers": [[name, value] for name, value in answer.headers],
        "body": shown,
        "body_bytes": len(body),
    }


def _ms(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class FailedBody:
    """Holds the body of an answer that failed and lets any other go."""

    def __init__(self) -> None:
        self._failed = False
        self._held: list[bytes] = []

    def head(self, answer: Answer) -> None:
        self._failed = not answer.ok

    def body(self, chunk: bytes) -> None:
        if self._failed:
            self._held.append(chunk)

    def held(self) -> bytes:
        return b"".join(self._held)


class BodyPrinter(FailedBody):
    """Writes a body to stdout as it arrives. The body of a failed answer is held until ``finish``."""

    def __init__(self, include_head: bool) -> None:
        super().__init__()
        self._include_head = include_head
        self._last = b""  # the last byte written, to end an unfinished line

    def head(self, answer: Answer) -> None:
        super().head(answer)
        if self._include_head:
            lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
            lines += [f"{name}: {value}" for name, value in answer.headers]
            sys.stdout.write("\n".join(lines) + "\n\n")
            sys.stdout.flush()

    def body(self, chunk: bytes) -> None:
        super().body(chunk)
        if not self._failed:
            self._write(chunk)

    def finish(self, *, keep_held: bool) -> None:
        """Write what was held, if wanted, and end the line on a terminal; a pipe gets the body's bytes alone."""
        if keep_held and self._held:
            self._write(self.held())
        if self._last not in (b"", b"\n") and sys.stdout.isatty():
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _write(self, chunk: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        self._last = chunk[-1:]
