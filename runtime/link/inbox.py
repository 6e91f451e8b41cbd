"""Received bytes to frames: the buffer that the transport fills in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.link.frames import HEADER, HEADER_SIZE, KIB, LIMIT_BY_TYPE, refuse_header

READ_BUFFER: Final = 256 * KIB  # what a Unix socket holds at most; only what is used of it is resident

# (kind, stream, flags, payload) -> whether to go on; the payload's memory is reused after the call
OnFrame = Callable[[int, int, int, memoryview], bool]


class Inbox:
    """Cuts the byte stream into frames; an oversize length is refused from its header, before buffering."""

    def __init__(self, on_frame: OnFrame) -> None:
        self._on_frame = on_frame
        self._view = memoryview(bytearray(READ_BUFFER))
        self._filled = 0

    def free(self) -> memoryview:
        """Return the part of the buffer that may be filled next."""
        return self._view[self._filled :] if self._filled else self._view

    def filled(self, size: int) -> None:
        """Hand over every frame that ``size`` more bytes complete. Raises ``ProtocolError``."""
        view, end, position, needed = self._view, self._filled + size, 0, 0
        while end - position >= HEADER_SIZE:
            length, stream, kind, flags = HEADER.unpack_from(view, position)
            if length > LIMIT_BY_TYPE[kind]:
                refuse_header(length, kind)
            start = position + HEADER_SIZE
            if end - start < length:
                needed = HEADER_SIZE + length
                break
            position = start + length
            if not self._on_frame(kind, stream, flags, view[start:position]):
                return
        if needed > len(view):
            # a new buffer, never a resized one: a handler may still look at the old
            self._view = memoryview(bytearray(needed + READ_BUFFER))
        left = self._filled = end - position
        if left and (position or self._view is not view):
            self._view[:left] = view[position:end]
