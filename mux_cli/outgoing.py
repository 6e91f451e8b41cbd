"""From what was typed to a request: method, headers and body of ``mux request``."""

from __future__ import annotations

import json
import mimetypes
import sys
from pathlib import Path

from mux_cli.exchange import Outgoing
from mux_cli.exits import UsageProblem
from mux_cli.target import Target


def compose(
    path: str,
    *,
    model_id: str | None,
    data: str | None,
    method: str | None,
    headers: list[str],
    timeout_s: float | None,
    target: Target,
) -> Outgoing:
    """Return the request; raises ``UsageProblem`` for a header without a colon, a missing file, broken JSON."""
    pairs = [split_header(header) for header in headers]
    names = {name.lower() for name, _ in pairs}
    body, kind = (None, "") if data is None else read_body(data, any_type="content-type" in names)
    wanted = {
        target.model_header: model_id or "",
        "content-type": kind,
        "x-request-timeout-seconds": "" if timeout_s is None else f"{timeout_s:g}",
        "user-agent": "mux",
        "accept": "*/*",
    }
    pairs += [(name, value) for name, value in wanted.items() if value and name.lower() not in names]
    if data is None and method is not None and method.upper() in ("POST", "PUT", "PATCH"):
        body = b""
    return Outgoing(
        method=(method or ("GET" if data is None else "POST")).upper(),
        target=path if path.startswith("/") else f"/{path}",
        headers=pairs,
        body=body,
        timeout_s=timeout_s,
    )


def split_header(header: str) -> tuple[str, str]:
    """Return the name and value of ``NAME: VALUE``."""
    name, colon, value = header.partition(":")
    if not colon or not name.strip():
        raise UsageProblem(f"'{header}' is not a header.", hint="Write it as -H 'name: value'.")
    return name.strip(), value.strip()


def read_body(data: str, *, any_type: bool) -> tuple[bytes | Path, str]:
    """Return the body that ``-d`` names and its content type: inline JSON, ``@file``, or ``@-`` for stdin.

    Inline text must be JSON unless ``any_type`` (the caller gives a content type of their own).
    """
    if data == "@-":
        body = sys.stdin.buffer.read()
        return body, "application/json" if _json_problem(body) is None else "application/octet-stream"
    if data.startswith("@"):
        path = Path(data[1:]).expanduser()
        if not path.is_file():
            raise UsageProblem(f"There is no file {path}.", hint="-d @FILE sends a file, -d JSON sends what is typed.")
        return path, mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    problem = _json_problem(data.encode())
    if problem is not None and not any_type:
        raise UsageProblem(
            f"What -d holds is not JSON: {problem}.",
            hint="Quote it as in -d '{\"a\": 1}', or say what it is with -H 'content-type: text/plain'.",
        )
    return data.encode(), "application/json"


def _json_problem(text: bytes) -> str | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        return f"{exc.msg} at character {exc.pos + 1}"
    except (UnicodeDecodeError, RecursionError) as exc:
        return str(exc)
    return None
