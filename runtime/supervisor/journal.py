"""What happens, told twice: as events to those who follow a command, and as lines in the supervisor's log."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.observe.logs import LogWriter
from runtime.supervisor.api import Event


class Follower:
    """One who follows the events from now on."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event | None) -> None:
        """Hand over an event; None is the end."""
        self._queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class Journal:
    """Tells followers and the log."""

    def __init__(self, log: LogWriter) -> None:
        self.log = log
        self._followers: list[Follower] = []

    @contextmanager
    def follow(self) -> Iterator[Follower]:
        follower = Follower()
        self._followers.append(follower)
        try:
            yield follower
        finally:
            self._followers.remove(follower)

    def tell(self, event: Event, name: str = "", level: str = "INFO", *, child: str = "", pid: int = 0) -> None:
        """Publish an event; with a ``name`` of ``observe.events`` also write it to the log."""
        for follower in self._followers:
            follower.put(event)
        if name:
            decision = sys._getframe(3)  # past the chronicle, to where it was decided
            self.log.event(
                event.message,
                level=level,
                event=name,
                file=Path(decision.f_code.co_filename).name,
                line=decision.f_lineno,
                child=child,
                pid=pid,
            )
