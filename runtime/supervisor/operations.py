"""What can be asked of the supervisor, each as a stream of events that ends with ``done`` or ``failed``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runtime.cpu_latency import HINT, refusal
from runtime.errors import BadRequest, Locked, MuxError, NoSuchThing, NotReadyInTime, NotRunning, StartError
from runtime.observe import events
from runtime.project import Project
from runtime.supervisor.api import (
    ApplyRequest,
    DownRequest,
    Event,
    ProjectStatus,
    RestartRequest,
    ScaleRequest,
    WaitRequest,
)
from runtime.supervisor.desired import Desired
from runtime.supervisor.failures import fault_of
from runtime.supervisor.journal import Follower, Journal
from runtime.supervisor.owner import Owner
from runtime.supervisor.pool import Pool
from runtime.supervisor.ports import Address, PublicSockets
from runtime.supervisor.rollouts import Rollout, Rollouts

TURN_TIMEOUT_S: Final = 30.0  # for the command before this one to finish
BROKEN_STOP_S: Final = 30.0  # after a fault of the supervisor, when a drain may never end
MAX_REPLICAS: Final = 1024


class Operations:
    """Every command changes what is desired, one after the other; the pool does the rest.

    ``status`` makes the snapshot that ``done`` carries. ``on_stopped`` is called when nothing runs any more, before
    the last event of ``down``. ``finished`` is set when the supervisor shall exit: after that, or when the very
    first deploy failed.
    """

    def __init__(
        self,
        project: Project,
        pool: Pool,
        sockets: PublicSockets,
        journal: Journal,
        status: Callable[[], Awaitable[ProjectStatus]],
        on_stopped: Callable[[], None],
    ) -> None:
        self.project = project
        self.pool = pool
        self.rollouts = Rollouts(pool, on_held=self._held, on_failed=self._failed)
        self.finished = asyncio.Event()
        self._sockets = sockets
        self.journal = journal
        self._status = status
        self._on_stopped = on_stopped
        self._stop: asyncio.Task[None] | None = None  # set once the project goes down
        self._empty = asyncio.Event()  # nothing is desired and nothing runs
        self._give_up_draining = asyncio.Event()
        self._owner = Owner(self._orphaned)
        self._turn = asyncio.Lock()
        self._holder = ""
        self.waiting = 0  # commands that wait for their turn
        self._generation = recorded.generation if (recorded := Desired.load(project.desired_file)) else 0

    @property
    def going_down(self) -> bool:
        return self._stop is not None

    # --- commands

    async def apply(self, request: ApplyRequest) -> AsyncIterator[Event]:
        """Bring the project to a config."""
        try:
            async with self._my_turn("deploy"):
                current = self.pool.desired
                target = Desired.parse(request, current, self._generation + 1)
                planned = target.changes_from(current)
                yield Event(kind="plan", changes=[change.as_event() for change in planned])
                if request.dry_run:
                    yield Event(kind="done", message="Nothing was changed.")
                    return
                _refuse_latency(target.config.http.cpu_latency_us)
                self._owner.watch(request.owner)
                if current is not None and not planned:
                    target = replace(target, generation=current.generation)
                async for event in self._carry_out(target, request.wait, request.timeout_s):
                    yield event
        finally:
            if self.pool.desired is None and self.rollouts.current is None and self._stop is None:
                self.finished.set()  # the first deploy came to nothing, and so nothing runs

    async def scale(self, request: ScaleRequest) -> AsyncIterator[Event]:
        """Change the number of replicas until the next deploy."""
        async with self._my_turn("scale"):
            current = self._running(request.replicas)
            for name, count in request.replicas.items():
                if not 1 <= count <= MAX_REPLICAS:
                    raise BadRequest(f"{name} cannot have {count} replicas; give 1 to {MAX_REPLICAS}.")
            said = ", ".join(f"{name} to {count}" for name, count in request.replicas.items())
            self.journal.log.event(f"Scaling {said}.", event=events.DEPLOY_SCALED)
            target = current.scale(request.replicas, self._generation + 1)
            async for event in self._carry_out(target, request.wait):
                yield event

    async def restart(self, request: RestartRequest) -> AsyncIterator[Event]:
        """Replace every replica of some deployments, one at a time."""
        async with self._my_turn("restart"):
            current = self._running(request.deployments)
            names = request.deployments or list(current.by_name)
            async for event in self._carry_out(current.restart(names, self._generation + 1), request.wait):
                yield event

    async def wait(self, request: WaitRequest) -> AsyncIterator[Event]:
        """Follow until all that is desired is ready."""
        if self.rollouts.current is None:
            self._running()
        with self.journal.follow() as follower:
            async for event in self._followed(follower, self.rollouts.settling(), request.timeout_s):
                yield event

    async def down(self, request: DownRequest) -> AsyncIterator[Event]:
        """Drain and end everything; the supervisor exits after the last event."""
        with self.journal.follow() as follower:
            stopped = self.stop(request.timeout_s)
            stopped.add_done_callback(lambda _: follower.put(None))
            async for event in follower:
                yield event
        yield Event(kind="done", message="Everything has stopped.")

    def stop(self, timeout_s: float | None = None) -> asyncio.Task[None]:
        """Begin to drain and end everything; a shorter time limit hurries a stop that is under way."""
        loop = asyncio.get_running_loop()
        if self._stop is None:
            self.journal.log.event("The project is going down.", event=events.PROCESS_DRAINING)
            self.rollouts.end("the project is going down")
            self._sockets.keep_only(None)  # the routers' copies remain; new connections are refused
            self.pool.aim(None)
            self._stop = loop.create_task(self._stopped(), name="stop")
        if timeout_s is not None:
            loop.call_later(timeout_s, self._give_up_draining.set)
        return self._stop

    def _orphaned(self, owner: int) -> None:
        self.journal.log.event(f"The script that ran the project (pid {owner}) has ended.")
        self.stop()

    async def _stopped(self) -> None:
        self._owner.close()
        waiting = [asyncio.ensure_future(one.wait()) for one in (self._empty, self._give_up_draining)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        await self.pool.close()
        self._on_stopped()
        self.finished.set()

    # --- how a command goes

    async def _carry_out(self, target: Desired, wait: bool, timeout_s: float | None = None) -> AsyncIterator[Event]:
        with self.journal.follow() as follower:
            http = target.config.http
            self._sockets.bind(Address.of(http), http.routers)
            self._generation = max(self._generation, target.generation)
            rollout = self.rollouts.begin(target)
            if not wait:
                yield Event(kind="done", message="It goes on in the background.")
                return
            async for event in self._followed(follower, rollout.outcome, timeout_s):
                yield event

    async def _followed(
        self, follower: Follower, outcome: asyncio.Future[MuxError | None], timeout_s: float | None
    ) -> AsyncIterator[Event]:
        """Yield events until the outcome is known, then the last one."""
        outcome.add_done_callback(lambda _: follower.put(None))
        timer = None
        if timeout_s is not None:
            timer = asyncio.get_running_loop().call_later(timeout_s, follower.put, None)
        try:
            async for event in follower:
                yield event
        finally:
            if timer is not None:
                timer.cancel()
        if not outcome.done():
            raise NotReadyInTime(
                f"It was not ready within {timeout_s:g} s; it goes on starting.",
                hint="`mux wait` or `mux status` follow it.",
            )
        if (error := outcome.result()) is not None:
            raise error
        yield Event(kind="done", message="Everything is ready.", status=await self._status())

    @asynccontextmanager
    async def _my_turn(self, verb: str) -> AsyncIterator[None]:
        """Wait for the command before this one. Raises Locked."""
        self.waiting += 1
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Locked(f"Another command is under way: {self._holder}.", hint="Try again later.") from None
        finally:
            self.waiting -= 1
        try:
            if self._stop is not None:
                raise Locked(f"The project {self.project.name!r} is going down.", hint="Try again in a moment.")
            self._holder = f"`{verb}`, begun {time.strftime('%H:%M:%S')}"
            yield
        finally:
            self._turn.release()

    def _running(self, names: Iterable[str] = ()) -> Desired:
        """Return what is desired. Raises NotRunning, or NoSuchThing for a deployment that is not in it."""
        current = self.pool.desired
        if current is None:
            raise NotRunning(f"Nothing is deployed in {self.project.name!r}.", hint="`mux deploy` first.")
        for name in names:
            if name not in current.by_name:
                known = ", ".join(current.by_name)
                raise NoSuchThing(f"There is no deployment {name!r}.", hint=f"There is: {known}.")
        return current

    # --- what the pool and the rollouts report

    def changed(self) -> None:
        """Look at what the pool's last change means."""
        self.rollouts.changed()
        if self.pool.desired is None and not self.pool.workers:
            self._empty.set()
        else:
            self._empty.clear()

    def faulted(self, error: BaseException) -> None:
        """End what is under way: a part of the supervisor has failed, and nobody may wait for it for ever."""
        self.rollouts.break_off(fault_of(error))

    def _held(self, target: Desired) -> None:
        http = target.config.http
        self._sockets.keep_only(Address.of(http), http.routers)
        message = f"Generation {target.generation} is ready."
        self.journal.log.event(message, event=events.DEPLOY_APPLIED)
        try:
            target.save(self.project.desired_file)
        except OSError as exc:  # it serves all the same
            message = f"Generation {target.generation} could not be recorded: {exc}"
            self.journal.log.event(message, level="WARNING")

    def _failed(self, rollout: Rollout, error: MuxError) -> None:
        previous = rollout.previous
        if previous is not None:
            self._sockets.keep_only(Address.of(previous.config.http), previous.config.http.routers)
        self.journal.log.event(error.message, level="ERROR", event=events.DEPLOY_FAILED)
        if previous is None:
            self.stop(BROKEN_STOP_S if rollout.broken else None)


def _refuse_latency(limit_us: int | None) -> None:
    """Raise ``StartError`` if the routers could not bound how long processors take to wake, as they are asked to."""
    if limit_us is not None and (why := refusal(limit_us)):
        raise StartError(f"http.cpu_latency_us cannot be had: {why}", hint=HINT)
