"""The targets of requests, read once: clients ask for the same ones again and again."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import httptools

Target = tuple[bytes, bytes, str]  # path, query, and the path decoded

TARGETS: Final[dict[bytes, Target]] = {}
"""What was read before, by the target as sent."""
_LIMIT: Final = 1024
_TARGET_BYTES: Final = 128  # a longer one hardly comes again


def read_target(url: bytes) -> Target | None:
    """Return a request's target; None if it is not a path."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    path = parsed.path or b""
    if not path.startswith(b"/") or not path.isascii():
        return None
    target = (path, parsed.query or b"", unquote(path.decode("ascii")))
    if len(url) <= _TARGET_BYTES and len(TARGETS) < _LIMIT:
        TARGETS[url] = target
    return target
