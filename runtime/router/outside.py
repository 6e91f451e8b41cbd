"""Links from outside the project's processes: a script or a notebook with a deployment handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import ProtocolError

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.frames import Command, Reply, State
    from runtime.link.handlers import StreamHandler
    from runtime.link.stream import Stream
    from runtime.router.calls import Calls


class Outside:
    """Implements ``LinkHandler`` for authenticated links that may only call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def connected(self, link: Link) -> None:
        """There is nothing to tell a caller."""

    def lost(self, link: Link, why: str) -> None:
        """Each call has heard of it by its own stream."""

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        return self._calls.opened(None, stream, kind, payload, flags)

    def state(self, link: Link, state: State) -> None:
        raise ProtocolError("a caller has no state to tell")

    def command(self, link: Link, command: Command) -> None:
        raise ProtocolError("a caller cannot command")

    def reply(self, link: Link, reply: Reply) -> None:
        raise ProtocolError("a caller was asked nothing")

    def goaway(self, link: Link, reason: str) -> None:
        """It calls no more; what runs ends."""
