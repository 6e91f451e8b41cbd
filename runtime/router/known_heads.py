"""Requests' heads as they were read before: the clients of a connection send the same bytes again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runtime.link.frames import Headers
    from runtime.router.request_headers import RequestHeaders

_LIMIT: Final = 1024
_HEAD_BYTES: Final = 2048  # a longer one hardly comes again
_SEEN_LIMIT: Final = 8192
_END: Final = b"\r\n\r\n"


class ReadHead:
    """What a parser made of a head, of whatever connection. Nobody changes it.

    ``size``: of the head, in bytes. ``whole``: of the request.
    """

    __slots__ = (
        "found", "headers", "http_version", "keep_alive", "method", "path", "query", "raw_path", "size", "whole",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        raw_path: bytes,
        query: bytes,
        http_version: str,
        headers: Headers,
        found: RequestHeaders,
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.raw_path = raw_path
        self.query = query
        self.http_version = http_version
        self.headers = headers
        self.found = found
        self.keep_alive = keep_alive
        self.size = self.whole = 0  # until it is remembered


class KnownHeads:
    """A bounded memo: the bytes of a head → what was read. Only what came twice is remembered.

    A parser between two messages has no other state than that, and what it makes of a head depends on the head's
    bytes alone. So a head that begins what was received there need not be parsed again, on no connection.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, ReadHead] = {}
        self._seen: set[int] = set()  # hashes of heads that came once

    def find(self, data: bytes) -> ReadHead | None:
        """Return the head that ``data`` begins with, if it is known and exactly its body follows."""
        known = self._known.get(data)
        if known is None:
            size = data.find(_END, 0, _HEAD_BYTES) + len(_END)
            if len(_END) <= size < len(data):
                known = self._known.get(data[:size])
        return known if known is not None and known.whole == len(data) else None

    def learn(self, data: bytes, read: ReadHead, body: bytes | bytearray) -> None:
        """Remember that ``data``, received between two messages, was one request with this body and no more."""
        size = len(data) - len(body)
        if size > _HEAD_BYTES or not read.keep_alive or read.found.chunked:
            return
        head = data[:size]
        if data[size:] != body or not head.endswith(_END) or max(0, read.found.content_length) != len(body):
            return
        mark = hash(head)
        if mark not in self._seen:
            if len(self._seen) >= _SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(mark)
            return
        if len(self._known) >= _LIMIT:
            self._known.clear()
        read.size, read.whole = size, len(data)
        self._known[head] = read
