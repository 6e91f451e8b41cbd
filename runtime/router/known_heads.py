"""Requests' heads as they were read before: the clients of a connection send the same bytes again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from runtime.link.frames import Headers
    from runtime.router.request_headers import RequestHeaders

_LIMIT: Final = 1024
_HEAD_BYTES: Final = 2048  # a longer one hardly comes again
_MARKS: Final = 1024  # few, so that they wash nothing out of the processor's caches
_END: Final = b"\r\n\r\n"


class ReadHead(Struct, eq=False):
    """What a parser made of a head, of whatever connection. Nobody changes it.

    ``size``: of the head, in bytes. ``whole``: of the request. Both are set where it is remembered.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    http_version: str
    headers: Headers
    found: RequestHeaders
    keep_alive: bool
    size: int = 0
    whole: int = 0


class KnownHeads:
    """A bounded memo: the bytes of a head → what was read. Only what came twice is remembered.

    A parser between two messages has no other state than that, and what it makes of a head depends on the head's
    bytes alone. So a head that begins what was received there need not be parsed again, on no connection.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, ReadHead] = {}
        self._marks = [0] * _MARKS  # hashes of heads that came once; a later one takes the place of one before

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
        if self._marks[mark % _MARKS] != mark:
            self._marks[mark % _MARKS] = mark
            return
        if len(self._known) >= _LIMIT:
            self._known.clear()
        read.size, read.whole = size, len(data)
        self._known[head] = read
