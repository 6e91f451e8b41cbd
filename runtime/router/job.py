"""What a pool schedules: HTTP requests, websockets and deployment handles' calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runtime.errors import MuxError
    from runtime.link.connection import Link
    from runtime.link.stream import Stream


class Job(Protocol):
    """One entry of a pool, from submission to the end of its stream."""

    number: int  # the scheduler's name for it, given by the pool
    model: str  # "" without one
    request_id: str
    cache: str  # what the router saw of the model at arrival: "" (resident, or none named), "load" or "wait"
    replica: str  # where it was dispatched to, "" while it waits
    stream: Stream | None  # on the replica that it was dispatched to

    @property
    def route_prefix(self) -> str:
        """For logs; "" where it came by no public route."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again although a replica may have begun it, and nothing of it was lost."""

    def dispatch(self, link: Link, replica: str, waited_s: float) -> None:
        """Open the stream. Raises ``LinkLost`` on a dead link."""

    def fail(self, error: MuxError) -> None:
        """The scheduler gave up; no event is fed back for it."""
