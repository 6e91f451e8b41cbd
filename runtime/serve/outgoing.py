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
    """Opens the stream at once if the head has all of the arguments, else as soon as they are in shared memory.

    What finds no shared memory, or cannot be reached there, goes as body.
    """

    __slots__ = ("_asker", "_ended", "_head", "_link", "_parts", "_segment", "_sending", "_stream")

    def __init__(self, link: Link, head: CallHead, arguments: Encoded, asker: Asker) -> None:
        """Raises ``LinkLost`` on a dead link."""
        self._link = link
        self._head = head
        self._asker = asker
        self._ended = False
        self._parts: Sequence[memoryview] = arguments.body()
        self._segment: Segment | None = None
        self._stream: Stream | None = None
        self._sending: asyncio.Task[None] | None = None
        if self._parts:
            self._sending = link.loop.create_task(self._send(), name=f"arguments of {head.deployment}.{head.method}")
        else:
            self._stream = link.open(CALL, encode_head(head), asker, END)

    def consumed(self, size: int) -> None:
        """Hand credit for so many bytes of the answer back."""
        if self._stream is not None:
            self._stream.consumed(size)

    def again(self, why: str) -> bool:
        """The call was refused: send its arguments as body if they could not be reached; return whether."""
        memory = self._link.memory
        if why != UNREACHABLE or self._head.memory is None or memory is None:
            return False
        memory.unreachable.add(self._head.deployment)
        self._head.memory = None
        self._give_back()
        self._stream = None
        self._sending = self._link.loop.create_task(self._send())
        return True

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        if self._stream is not None:
            self._stream.cancel()
        self.end()

    def end(self) -> None:
        """The call is over. Idempotent."""
        self._ended = True
        if self._sending is not None and self._stream is None:
            self._sending.cancel()  # it gives the segment back itself: it may be filling it
        else:
            self._give_back()

    async def _send(self) -> None:
        link, head, parts = self._link, self._head, self._parts
        try:
            if link.memory is not None:
                lengths = [len(part) for part in parts]
                self._segment = segment = link.memory.lend(head.deployment, lengths)
                if segment is not None:
                    head.memory = await segment.fill(parts)
                    parts = ()
            self._stream = stream = link.open(CALL, encode_head(head), self._asker, 0 if parts else END)
            with suppress(StreamStopped, StreamEnded, LinkLost):  # the peer has answered, or the handler was told
                for number, part in enumerate(parts, 1):
                    await stream.send_body(part, end=number == len(parts))
        except Exception as exc:  # whatever it is, somebody waits
            self._asker.fail(exc)
            if self._stream is not None:
                self._stream.cancel()
        finally:
            if self._ended:
                self._give_back()

    def _give_back(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None and self._link.memory is not None:
            self._link.memory.give_back(segment)
