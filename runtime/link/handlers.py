"""What the users of a link implement: callbacks, all synchronous, all on the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.frames import Command, Reply, State
    from runtime.link.stream import Stream


class StreamHandler(Protocol):
    """One per stream. ``payload`` is only valid during the call: its memory is reused."""

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        """A frame other than body arrived: RESPONSE, RESULT, ADMITTED, REFUSED, ABORT, MESSAGE or CLOSE.

        ``flags & END``: the peer's half is done. A MESSAGE spends credit as a body does: hand it back with
        ``stream.consumed``.
        """

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        """Body bytes arrived; they cost credit until ``stream.consumed`` hands it back."""

    def stopped(self, stream: Stream) -> None:
        """The peer wants no more of our body; our half counts as ended."""

    def cancelled(self, stream: Stream) -> None:
        """The opener gave up; answer with any terminal frame once user code has let go."""

    def lost(self, stream: Stream) -> None:
        """The link went before the stream ended. The last call for this stream."""


class Nobody:
    """The handler of a stream that is over: what still comes concerns nobody."""

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None: ...

    def body(self, stream: Stream, data: bytes, end: bool) -> None: ...

    def stopped(self, stream: Stream) -> None: ...

    def cancelled(self, stream: Stream) -> None: ...

    def lost(self, stream: Stream) -> None: ...


NOBODY: Final = Nobody()


class LinkHandler(Protocol):
    """One per process end; told which link each time."""

    def connected(self, link: Link) -> None:
        """Both hellos are exchanged; ``link.peer`` is set."""

    def lost(self, link: Link, why: str) -> None:
        """The link went, after every stream's ``lost``. Only called after ``connected``."""

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        """The peer opened a stream with a REQUEST or CALL; return its handler."""

    def state(self, link: Link, state: State) -> None: ...

    def command(self, link: Link, command: Command) -> None: ...

    def reply(self, link: Link, reply: Reply) -> None: ...

    def goaway(self, link: Link, reason: str) -> None:
        """The peer opens nothing more and will close once its streams have ended."""
