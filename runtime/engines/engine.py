"""What the supervisor asks of a place where processes run. ``local.py`` is one; others plug in beside it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runtime.link.channel import ChildChannel
from runtime.link.control import ChildSpec


@dataclass(frozen=True, slots=True)
class Launch:
    """One child to start. The engine fills in the spec's descriptors; ``env`` is the child's whole environment."""

    spec: ChildSpec
    env: Mapping[str, str]
    listeners: Sequence[socket.socket] = field(default=())  # public sockets, a router's


class ChildProcess(Protocol):
    """A started child. ``channel`` is open from the first moment; the child may not be listening yet."""

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""

    @property
    def create_time(self) -> float:
        """When it was created, in Unix seconds: tells it from a later process with the same pid."""

    @property
    def channel(self) -> ChildChannel: ...

    @property
    def output(self) -> bytes:
        """The tail of what this incarnation has written to its descriptors 1 and 2."""

    async def wait(self) -> int:
        """Return its exit code once it has ended, or minus the number of the signal that ended it."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); no error if it has."""

    def kill(self) -> None:
        """End it and all that it started, at once."""

    async def close(self) -> None:
        """Release what the supervisor holds for it. Only after ``wait`` has returned."""


class Engine(Protocol):
    """A place where processes run."""

    async def spawn(self, launch: Launch) -> ChildProcess:
        """Start a child and return without waiting for its handshake. Raises StartError."""

    def close(self) -> None:
        """Let go of the children: those still alive end by themselves."""
