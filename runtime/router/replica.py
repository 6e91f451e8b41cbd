"""One replica as the router knows it: its link, kept up with retries, and what it has published."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.core.events import (
    ModelChanged,
    ModelStatus,
    PlaceOffered,
    ReplicaDraining,
    ReplicaSuspected,
    ReplicaTrusted,
    Summary,
    SummaryChanged,
    WantWithdrawn,
)
from runtime.errors import LinkLost, MuxError, NoSuchThing, ProtocolError, class_of
from runtime.link.frames import MAGIC, VERSION, Command, Hello, Reply, State
from runtime.observe import events
from runtime.router.wire import replica_up, status_of, summary_of

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.link.control import ReplicaEntry
    from runtime.link.handlers import LinkHandler, StreamHandler
    from runtime.link.stream import Stream
    from runtime.observe.logs import LogWriter
    from runtime.router.pool import Pool

FIRST_RETRY_S: Final = 0.02
LAST_RETRY_S: Final = 1.0
ASK_TIMEOUT_S: Final = 330.0  # longer than a load may take by default

Connect = Callable[[str, Hello, "LinkHandler"], Awaitable["Link"]]
OpenCall = Callable[["Replica", "Stream", int, memoryview, int], "StreamHandler"]


class Replica:
    """Implements ``LinkHandler``. The pool hears of it once its first snapshot is here."""

    def __init__(
        self, entry: ReplicaEntry, pool: Pool, router: str, connect: Connect, open_call: OpenCall, log: LogWriter
    ) -> None:
        self.entry = entry
        self.pool = pool
        self.link: Link | None = None  # None until the first snapshot, and while the link is down
        self.models: dict[str, ModelStatus] = {}
        self.summary = Summary()
        self.silent = False  # it is suspect, and has not said a word since
        self.retired = False  # it has left the table: no new work, closed once its streams have ended
        self.up = asyncio.Event()  # nobody needs to wait for it: its snapshot has come, or it has left the table
        self._down = asyncio.Event()
        self._hello = Hello(MAGIC, VERSION, "router", router, entry.token)
        self._connect = connect
        self._open_call = open_call
        self._log = log
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._ending = False  # the link goes down because one of the two processes stops

    def __repr__(self) -> str:
        return f"<Replica {self.entry.id} {'up' if self.link else 'down'} models={list(self.models)}>"

    # --- keeping the link -----------------------------------------------------------------------------------

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"link to {self.entry.id}")

    async def stop(self, why: str) -> None:
        """Close the link; streams that are still open are lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._ending = True
        if self.link is not None:
            self.link.close(why)

    async def _keep(self) -> None:
        delay = FIRST_RETRY_S
        while not self.retired:
            self._down.clear()
            try:
                await self._connect(self.entry.address, self._hello, self)
            except (LinkLost, ProtocolError) as exc:
                if delay == FIRST_RETRY_S:
                    self._say(f"No link to {self.entry.id} yet: {exc.message}.", events.LINK_DOWN, "WARNING")
            else:
                delay = FIRST_RETRY_S
                await self._down.wait()
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_S)

    def drain(self) -> None:
        """Send nothing new there; what runs ends."""
        if self.link is not None:
            self.pool.feed(ReplicaDraining(self.entry.id))

    def suspect(self) -> None:
        """It does not answer the supervisor: send nothing new there until it says something."""
        self.silent = self.link is not None
        if self.silent:
            self.pool.feed(ReplicaSuspected(self.entry.id))

    def trust(self) -> None:
        """It answers the supervisor again, or has said something here, which often comes first."""
        if self.silent:
            self.silent = False
            self.pool.feed(ReplicaTrusted(self.entry.id, tuple(self.models.values())))

    def retire(self) -> None:
        """It has left the table: drain it, and close the link with its last stream."""
        self.retired = True
        self.up.set()
        self.drain()
        self.close_if_idle()

    def close_if_idle(self) -> bool:
        """Close a retired replica's link if no stream is left; return whether nothing holds it any more."""
        if self.link is None:
            if self._task is not None:
                self._task.cancel()
            self.pool.forget(self.entry.id)
            return True
        if not self.link.streams:
            self.link.close("the replica left the table")
        return False

    # --- LinkHandler ----------------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Wait for the snapshot: the scheduler hears of a replica with all that it holds."""

    def lost(self, link: Link, why: str) -> None:
        was_up, self.link = self.link is not None, None
        self.silent = False
        self._down.set()
        self.models.clear()
        self.summary = Summary()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(LinkLost(f"the link to {self.entry.id} was lost: {why}"))
        if was_up:
            level = "INFO" if self.retired or self._ending else "WARNING"
            self._say(f"Link to {self.entry.id} is down: {why}.", events.LINK_DOWN, level)
            self.pool.lost(self.entry.id)
        if self.retired:
            self.pool.forget(self.entry.id)

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        return self._open_call(self, stream, kind, payload, flags)

    def state(self, link: Link, state: State) -> None:
        for head in state.models:
            self._note(status_of(head))
        if state.summary is not None:
            self.summary = summary_of(state.summary)
        if self.link is None:
            self._first_state(link, state)
            return
        self.trust()
        for head in state.models:
            self.pool.feed(ModelChanged(self.entry.id, status_of(head)))
        if state.summary is not None:
            self.pool.feed(SummaryChanged(self.entry.id, self.summary))

    def command(self, link: Link, command: Command) -> None:
        self.trust()
        if command.verb == "place":
            self.pool.feed(PlaceOffered(self.entry.id))
        elif command.verb == "withdrawn":
            self.pool.feed(WantWithdrawn(self.entry.id, command.model))
        else:
            raise ProtocolError(f"a replica cannot say {command.verb!r}")

    def reply(self, link: Link, reply: Reply) -> None:
        waiter = self._replies.get(reply.id)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def goaway(self, link: Link, reason: str) -> None:
        self._ending = reason == "draining"
        self.drain()

    # --- admin ----------------------------------------------------------------------------------------------

    async def ask(self, verb: str, model: str = "", timeout_s: float = ASK_TIMEOUT_S) -> Any:
        """Send an admin verb and return the reply's data. Raises ``NoSuchThing``, ``LinkLost``, ``MuxError``."""
        if self.link is None:
            raise NoSuchThing(f"{self.entry.id} is not connected")
        number = next(self._numbers)
        waiter = self._replies[number] = asyncio.get_running_loop().create_future()
        self.link.command(Command(verb, model, id=number))
        try:
            async with asyncio.timeout(timeout_s):
                reply = await waiter
        except TimeoutError:
            raise MuxError(f"{self.entry.id} did not answer {verb} within {timeout_s:g} s") from None
        finally:
            del self._replies[number]
        data = msgspec.msgpack.decode(reply.data)
        if not reply.ok:
            told = data if isinstance(data, dict) else {}
            raise class_of(str(told.get("error", "")))(reply.message, hint=str(told.get("hint", "")))
        return data

    # --- inside ---------------------------------------------------------------------------------------------

    def _first_state(self, link: Link, state: State) -> None:
        self.link = link
        self._say(f"Link to {self.entry.id} is up.", events.LINK_UP, "INFO")
        self.pool.feed(replica_up(self.entry.id, link.peer, state))
        if self.retired or self.entry.state == "draining":
            self.drain()
        self.up.set()

    def _note(self, status: ModelStatus) -> None:
        if status.state == "absent":
            self.models.pop(status.model, None)
        else:
            self.models[status.model] = status

    def _say(self, message: str, event: str, level: str) -> None:
        self._log.event(message, event=event, level=level, deployment=self.pool.name, replica=self.entry.id)
