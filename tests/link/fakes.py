"""Handlers that write down what they are told, and a pair of links over a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.link.connection import Link
from runtime.link.endpoint import connect, listen
from runtime.link.frames import MAGIC, VERSION, Command, Hello, Reply, State
from runtime.link.stream import Stream


class RecordingStream:
    """Hands consumed bytes back at once unless ``hold``."""

    def __init__(self, hold: bool = False) -> None:
        self.heads: list[tuple[int, bytes, int]] = []
        self.data = bytearray()
        self.ended = self.was_stopped = self.was_cancelled = self.was_lost = False
        self.hold = hold

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        self.heads.append((kind, bytes(payload), flags))

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self.data += data
        self.ended = end
        if not self.hold:
            stream.consumed(len(data))

    def stopped(self, stream: Stream) -> None:
        self.was_stopped = True

    def cancelled(self, stream: Stream) -> None:
        self.was_cancelled = True

    def lost(self, stream: Stream) -> None:
        self.was_lost = True


class RecordingLink:
    """Opens a ``RecordingStream`` for each stream of the peer."""

    def __init__(self, hold: bool = False) -> None:
        self.hold = hold
        self.links: list[Link] = []
        self.streams: list[tuple[Stream, RecordingStream, int, bytes, int]] = []
        self.states: list[State] = []
        self.commands: list[Command] = []
        self.replies: list[Reply] = []
        self.goneaway: list[str] = []
        self.lost_why: list[str] = []

    def connected(self, link: Link) -> None:
        self.links.append(link)

    def lost(self, link: Link, why: str) -> None:
        self.lost_why.append(why)

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> RecordingStream:
        handler = RecordingStream(self.hold)
        self.streams.append((stream, handler, kind, bytes(payload), flags))
        return handler

    def state(self, link: Link, state: State) -> None:
        self.states.append(state)

    def command(self, link: Link, command: Command) -> None:
        self.commands.append(command)

    def reply(self, link: Link, reply: Reply) -> None:
        self.replies.append(reply)

    def goaway(self, link: Link, reason: str) -> None:
        self.goneaway.append(reason)


def hello(role: str, token: str = "", version: int = VERSION) -> Hello:
    return Hello(MAGIC, version, role, f"{role}-0", token)


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Let the loop turn until ``condition``; fail at the deadline."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (any condition, not an event of ours)
            await asyncio.sleep(0)


@asynccontextmanager
async def link_pair(
    folder: Path, *, hold: bool = False, token: str = "t"
) -> AsyncIterator[tuple[Link, RecordingLink, RecordingLink]]:
    """Yield the router's link, the router's and the replica's handlers."""
    router, replica = RecordingLink(hold), RecordingLink(hold)
    address = f"unix:{folder / 'r.sock'}"
    server = await listen(address, lambda: hello("replica"), replica, token="t")
    try:
        link = await connect(address, hello("router", token), router)
        try:
            yield link, router, replica
        finally:
            link.close("done")
            await until(lambda: not link.alive)
    finally:
        server.close_links("done")
        server.close()
        await until(lambda: not server.links)
