"""A call on its way out: its stream, and what of its arguments does not fit into the head."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from runtime.errors import LinkLost
from runtime.link.connection import Link
from runtime.link.frames import CALL, END, CallHead, encode_head
from runtime.link.handlers import StreamHandler
from runtime.link.memory import UNREACHABLE, Segment
from runtime.link.stream import Stream, StreamEnded, StreamStopped
from runtime.serve.codec import Encoded


class Asker(StreamHandler, Protocol):
    """Whoever waits for the answers of a call."""

    def fail(self, error: Exception) -> None:
        """The call ended without an answer, or could not be made."""


class Outgoing:
    """Opens the stream at once. What the head has no room for is copied now, so that the caller may change it.

    It goes to shared memory; what finds none there, or cannot be reached in it, goes as body.
    """

    __slots__ = ("_asker", "_head", "_lengths", "_link", "_segment", "_sending", "_stream")

    def __init__(self, link: Link, head: CallHead, arguments: Encoded, asker: Asker) -> None:
        """Raises ``LinkLost`` on a dead link."""
        self._link = link
        self._head = head
        self._asker = asker
        self._segment: Segment | None = None
        self._sending: asyncio.Task[None] | None = None
        parts: Sequence[memoryview] = arguments.body()
        self._lengths = [len(part) for part in parts]
        if parts:
            parts = () if self._put(parts) else arguments.owned().body()
        self._stream = self._open(parts)

    def consumed(self, size: int) -> None:
        """Hand credit for so many bytes of the answer back."""
        self._stream.consumed(size)

    def again(self, why: str) -> bool:
        """The call was refused: send its arguments as body if they could not be reached; return whether."""
        memory, segment = self._link.memory, self._segment
        if why != UNREACHABLE or memory is None or segment is None:
            return False
        memory.unreachable.add(self._head.deployment)
        parts = segment.copied(self._lengths)
        self._head.memory = None
        self.end()
        self._stream = self._open(parts)
        return True

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._stream.cancel()
        self.end()

    def end(self) -> None:
        """The call is over. Idempotent."""
        segment, self._segment = self._segment, None
        if segment is not None and self._link.memory is not None:
            self._link.memory.give_back(segment)

    def _put(self, parts: Sequence[memoryview]) -> bool:
        """Copy ``parts`` to shared memory; return whether there was any."""
        memory = self._link.memory
        self._segment = segment = memory.lend(self._head.deployment, self._lengths) if memory is not None else None
        if segment is not None:
            self._head.memory = segment.fill(parts)
        return segment is not None

    def _open(self, parts: Sequence[memoryview]) -> Stream:
        try:
            stream = self._link.open(CALL, encode_head(self._head), self._asker, 0 if parts else END)
        except BaseException:
            self.end()
            raise
        if parts:
            self._sending = self._link.loop.create_task(self._send(stream, parts))
        return stream

    async def _send(self, stream: Stream, parts: Sequence[memoryview]) -> None:
        try:
            with suppress(StreamStopped, StreamEnded, LinkLost):  # the peer has answered, or the handler was told
                for number, part in enumerate(parts, 1):
                    await stream.send_body(part, end=number == len(parts))
        except Exception as exc:  # whatever it is, somebody waits
            self._asker.fail(exc)
            stream.cancel()
