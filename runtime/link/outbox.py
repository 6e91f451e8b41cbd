"""Frames to few writes per loop turn: control, credit and heads first, bodies last."""

from __future__ import annotations

import asyncio
from typing import Final

from runtime.link.frames import KIB

HIGH_WATER: Final = 256 * KIB
GATHERED_HEADS: Final = 8  # more in one write save less than it costs that the peer has nothing to do meanwhile
FEW: Final = 2  # streams under way: to wait for a frame of another takes longer than to write twice


class Outbox:
    """Gathers frames until the loop comes round or there are many. Senders of bodies wait while ``paused``."""

    __slots__ = ("_bodies", "_frames", "_loop", "_scheduled", "_transport", "paused", "turn")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.turn = 0  # counts flushes: tells whether a stream's body still stands in this turn's list
        self.paused = False  # the transport holds more than the high-water mark
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._frames: list[bytes | memoryview] = []
        self._bodies: list[bytes | memoryview] = []
        self._scheduled = False

    def attach(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport

    def head(self, data: bytes) -> None:
        self._frames.append(data)
        if len(self._frames) == GATHERED_HEADS:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._come_round)

    def last(self, data: bytes) -> None:
        """Queue a head that ends its stream's half, with ``FEW`` streams under way, and write at once."""
        transport = self._transport
        if self._frames or self._bodies or transport is None:
            self._frames.append(data)
            self.flush()
        else:
            self.turn += 1
            if not transport.is_closing():
                transport.write(data)

    def body(self, data: bytes | memoryview) -> None:
        """Queue a body's frame, or the parts of one in turn. It is not copied: it must not change any more."""
        self._bodies.append(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._come_round)

    def flush(self) -> None:
        """Write what has gathered; dropped silently once the transport is closing, as the streams are lost anyway."""
        self.turn += 1
        gathered, self._frames = self._frames, []
        if self._bodies:
            gathered += self._bodies
            self._bodies = []
        if gathered and self._transport is not None and not self._transport.is_closing():
            if len(gathered) == 1:
                self._transport.write(gathered[0])
            else:
                self._transport.writelines(gathered)

    def _come_round(self) -> None:
        self._scheduled = False
        if self._frames or self._bodies:
            self.flush()
