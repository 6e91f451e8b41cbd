"""Frames that arrived on one stream and go out on another, in order, under the second one's credit."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from runtime.errors import LinkLost
from runtime.link.frames import BODY, END
from runtime.link.stream import StreamEnded, StreamStopped

if TYPE_CHECKING:
    from runtime.link.stream import Stream


class Pipe:
    """Sends at once while credit lasts; what has to wait is sent by a task that ends with the queue."""

    __slots__ = ("_dead", "_queue", "_task", "sink")

    def __init__(self, sink: Stream) -> None:
        self.sink = sink
        self._queue: deque[tuple[int, bytes, int, Stream | None]] = deque()  # (kind, data, flags, whose credit)
        self._task: asyncio.Task[None] | None = None
        self._dead = False  # the sink takes nothing any more: drop what comes

    def head(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Send a head behind the bodies before it."""
        self._push(kind, payload, flags, None)

    def body(self, source: Stream, data: bytes, end: bool) -> None:
        """Send body bytes; their credit goes back to ``source`` once they are sent, or dropped."""
        self._push(BODY, data, END if end else 0, source)

    def close(self) -> None:
        """Drop what waits, and all that still comes."""
        self._dead = True
        self._drop()
        if self._task is not None:
            self._task.cancel()

    def _push(self, kind: int, data: bytes, flags: int, source: Stream | None) -> None:
        if self._dead:
            _pay(source, data)
        elif self._queue or self._task is not None or not self._try(kind, data, flags, source):
            self._queue.append((kind, data, flags, source))
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run(), name=f"pipe to {self.sink!r}")

    def _try(self, kind: int, data: bytes, flags: int, source: Stream | None) -> bool:
        """Send now if nothing has to be awaited; return whether the frame is dealt with."""
        try:
            if kind != BODY:
                self.sink.send(kind, data, flags)
            elif not self.sink.send_body_now(data, bool(flags & END)):
                return False
        except StreamEnded:
            self._dead = True
        _pay(source, data)
        return True

    async def _run(self) -> None:
        try:
            while self._queue:
                kind, data, flags, source = self._queue.popleft()
                try:
                    if kind == BODY:
                        await self.sink.send_body(data, bool(flags & END))
                    else:
                        self.sink.send(kind, data, flags)
                finally:
                    _pay(source, data)
        except (LinkLost, StreamEnded, StreamStopped):
            self._dead = True
            self._drop()
        finally:
            self._task = None

    def _drop(self) -> None:
        while self._queue:
            _, data, _, source = self._queue.popleft()
            _pay(source, data)


def _pay(source: Stream | None, data: bytes) -> None:
    if source is not None and data:
        source.consumed(len(data))
