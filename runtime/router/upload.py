"""The rest of a request's body, pumped to whichever replica the request was dispatched to.

Nothing is read from the client before the dispatch. What was sent is kept until the replica has surely begun (it
granted more than the initial window), so that a refused request starts over elsewhere without the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from runtime.errors import LinkLost
from runtime.link.frames import INITIAL_WINDOW
from runtime.link.stream import StreamEnded, StreamStopped

if TYPE_CHECKING:
    from runtime.link.stream import Stream

Receive = Callable[[], Awaitable[tuple[bytes, bool]]]  # the next part, and whether it is the last


class Upload:
    """One pump. ``can_repeat``: all that was sent is still here."""

    def __init__(self, receive: Receive) -> None:
        self.can_repeat = True
        self.ended = False  # the last part has been received
        self._receive = receive
        self._parts: list[tuple[bytes, bool]] = []  # received; from 0 if they can be repeated, else only unsent
        self._next = 0  # the first of ``_parts`` that the current stream has not got
        self._received_bytes = 0
        self._stream: Stream | None = None
        self._stopped = False
        self._changed = asyncio.Event()

    def attach(self, stream: Stream) -> None:
        """Send to ``stream`` from now on, from the beginning."""
        self._stream = stream
        self._next = 0
        self._changed.set()

    def detach(self) -> None:
        """The stream has ended: send nothing until the next one."""
        self._stream = None

    def stopped(self) -> None:
        """The replica wants no more of it."""
        self._stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Pump until the replica wants no more; else until cancelled. Raises what ``receive`` raises."""
        while not self._stopped:
            stream = self._stream
            if stream is None or (self.ended and self._next == len(self._parts)):
                self._changed.clear()
                await self._changed.wait()
            elif self._next == len(self._parts):
                await self._read()
            else:
                await self._send(stream)

    async def _read(self) -> None:
        data, self.ended = await self._receive()
        self._parts.append((data, self.ended))
        self._received_bytes += len(data)

    async def _send(self, stream: Stream) -> None:
        data, end = self._parts[self._next]
        try:
            await stream.send_body(data, end)
        except StreamStopped:
            self._stopped = True
            return
        except (StreamEnded, LinkLost):
            if self._stream is stream:
                self._stream = None
            return
        if self._stream is stream:
            self._next += 1
            self._forget()

    def _forget(self) -> None:
        """Drop what cannot be wanted again: more than a window was taken, so the replica has begun."""
        if self.can_repeat and self._received_bytes > INITIAL_WINDOW:
            self.can_repeat = False
        if not self.can_repeat:
            del self._parts[: self._next]
            self._next = 0
