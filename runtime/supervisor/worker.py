"""One incarnation of a child, from its launch to its end: what it said, what it is asked, how it went."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Protocol

from runtime.config.options import Options, options_of
from runtime.core.rollout import Instance, InstanceState, Slot
from runtime.engines.engine import ChildProcess, Engine, Launch
from runtime.errors import LinkLost, ProtocolError, StartError
from runtime.link.control import (
    Answer,
    Applied,
    ChildSpec,
    Drain,
    Failed,
    FaultNotice,
    FromChild,
    Pong,
    Progress,
    Query,
    Ready,
    Reconfigure,
    ToChild,
)

Phase = Literal["starting", "connecting", "ready", "draining", "backoff", "failed", "stopped"]

UNLOAD_MARGIN_S: Final = 5.0  # beyond the drain's deadline, for unloading the models
START_GRACE_S: Final = 2.0  # a child that is stopped before it was ready has nothing to finish
LAST_WORDS_S: Final = 1.0  # a dead child's channel is read for so long

_STATES: Final[dict[Phase, InstanceState]] = {
    "starting": "starting",
    "connecting": "starting",
    "backoff": "starting",
    "ready": "ready",
    "draining": "draining",
    "stopped": "draining",
    "failed": "failed",
}


class WorkerListener(Protocol):
    """What a worker tells its owner; every call is synchronous, on the loop."""

    def spawned(self, worker: Worker) -> None: ...
    def handshaken(self, worker: Worker) -> None: ...
    def progressed(self, worker: Worker, progress: Progress) -> None: ...
    def applied(self, worker: Worker, generation: int) -> None: ...
    def ponged(self, worker: Worker, pong: Pong) -> None: ...
    def faulted(self, worker: Worker, why: str) -> None: ...
    def ended(self, worker: Worker) -> None: ...


class Worker:
    """One child process. ``phase`` is written by its owner, except for the end of the process."""

    def __init__(self, slot: Slot, spec: ChildSpec, incarnation: str, listener: WorkerListener) -> None:
        self.slot = slot
        self.spec = spec
        self.id = incarnation  # unique among all that this supervisor ever started
        self.phase: Phase = "starting"
        self.process: ChildProcess | None = None  # None: not spawned yet, or spawning failed
        self.started_at = time.monotonic()
        self.ready_at: float | None = None
        self.restarts = 0  # of its slot, before this incarnation
        self.options: Options = {}  # a replica: what its code says of the keys that are left to it
        self.suspect = False  # it does not answer pings
        self.condemned = False  # it was told to end and shall get no more work; its successor follows its end
        self.message = ""  # why it is not ready, or the last thing it was doing
        self.traceback = ""  # the user's: why it could not start, or refused its new config
        self.failure: Failed | None = None  # it said that it cannot start
        self.exit_code: int | None = None
        self.config_accepted = True  # False while it is being reconfigured, and if it refused
        self.refusal = ""  # what it said when it refused its new config
        self.table = 0  # a replica: the first table that it is in; a router: the last that it applied
        self.done = asyncio.Event()  # its process has ended and nothing more will come
        self._listener = listener
        self._questions: dict[int, asyncio.Future[Answer]] = {}
        self._last_question = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def role(self) -> str:
        return self.spec.role

    @property
    def instance(self) -> Instance:
        """Itself, as the rollout plan sees it."""
        slot = self.slot
        state = "starting" if self.condemned and self.phase == "ready" else _STATES[self.phase]
        return Instance(self.id, slot.deployment, slot.index, slot.revision, state)

    @property
    def alive(self) -> bool:
        return self.process is not None and not self.done.is_set()

    async def run(self, engine: Engine, launch: Callable[[], Awaitable[Launch]]) -> None:
        """Spawn the child and live with it until it has ended. Never raises for what the child does."""
        try:
            if self.phase == "starting":
                self.process = await engine.spawn(await launch())
                self._listener.spawned(self)
                await self._live(self.process)
        except StartError as exc:
            self.failure = Failed(stage="spawn", message=exc.message)
        finally:
            if self.process is not None:
                self.process.kill()
            self._forget_questions()
            self.done.set()
            self._listener.ended(self)

    async def _live(self, process: ChildProcess) -> None:
        if self.phase != "starting":  # it was stopped while it was being spawned
            process.terminate()
        reading = asyncio.create_task(self._read(process), name=f"read {self.name}")
        try:
            self.exit_code = await process.wait()
            await asyncio.wait({reading}, timeout=LAST_WORDS_S)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await process.close()
        if not reading.cancelled():
            reading.result()  # raises what went wrong in the supervisor itself

    async def _read(self, process: ChildProcess) -> None:
        try:
            async for message in process.channel:
                self._receive(message)
        except ProtocolError as exc:
            self.message = f"broke the control channel: {exc.message}"
            process.kill()
        except Exception:  # a fault of the supervisor: nobody would hear this child any more
            process.kill()
            raise

    def _receive(self, message: FromChild) -> None:
        match message:
            case Ready():
                self.options = options_of(message.detail)
                self._listener.handshaken(self)
            case Failed():
                self.failure = message
            case Progress():
                if self.ready_at is None:
                    self.message = message.message
                self._listener.progressed(self, message)
            case Applied():
                self._listener.applied(self, message.generation)
            case Pong():
                self._listener.ponged(self, message)
            case FaultNotice():
                self._listener.faulted(self, message.why)
            case Answer():
                future = self._questions.pop(message.id, None)
                if future is not None and not future.done():
                    future.set_result(message)

    def setting(self, key: str) -> Any:
        """Return what holds in this replica: its config, or its code where that is left the choice."""
        config = self.spec.deployment
        return config[key] if key in config["written"] else self.options.get(key, config[key])

    # --- to the child

    def send(self, message: ToChild) -> None:
        """Send a message; to a child that has gone it is dropped."""
        if self.process is not None:
            self.process.channel.send(message)

    async def ask(self, what: str, args: dict[str, Any], timeout_s: float) -> Answer:
        """Return the child's answer to a query. Raises LinkLost if it ends, TimeoutError if it is silent."""
        with self._question() as (number, future):
            self.send(Query(id=number, what=what, args=args))
            async with asyncio.timeout(timeout_s):
                return await future

    async def reconfigure(self, deployment: dict[str, Any], timeout_s: float) -> Answer:
        """Give a running replica a new config. Raises as ``ask``."""
        with self._question() as (number, future):
            self.send(Reconfigure(id=number, deployment=deployment))
            async with asyncio.timeout(timeout_s):
                return await future

    @contextmanager
    def _question(self) -> Iterator[tuple[int, asyncio.Future[Answer]]]:
        if not self.alive:
            raise LinkLost(f"{self.name} is not running")
        self._last_question += 1
        number = self._last_question
        future = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            yield number, future
        finally:
            self._questions.pop(number, None)

    def _forget_questions(self) -> None:
        for future in self._questions.values():
            if not future.done():
                future.set_exception(LinkLost(f"{self.name} has ended"))
        self._questions.clear()

    async def stop(self, deadline_s: float) -> None:
        """Drain it, or, where it never was ready, end it; kill what is left after the deadline."""
        if self.process is None:  # still being spawned: ``_live`` sees the phase
            await self._await_end(START_GRACE_S)
        elif self.ready_at is None:
            self.process.terminate()
            await self._await_end(START_GRACE_S)
        else:
            self.send(Drain(deadline_s=deadline_s))
            await self._await_end(deadline_s + UNLOAD_MARGIN_S)

    async def _await_end(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self.done.wait()
        except TimeoutError:
            if self.process is not None:
                self.process.kill()
            async with asyncio.timeout(UNLOAD_MARGIN_S):
                await self.done.wait()

    # --- how it went

    def obituary(self) -> str:
        """Return how it ended: "exited with code 1", "was killed by SIGKILL", "could not start (import): ..."."""
        if self.failure is not None:
            return f"could not start ({self.failure.stage}): {self.failure.message}"
        if self.exit_code is None:
            return "did not start"
        if self.exit_code >= 0:
            return f"exited with code {self.exit_code}"
        try:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        except ValueError:
            return f"was killed by signal {-self.exit_code}"

    def last_output(self) -> str:
        """Return the user's traceback, else the tail of what the child wrote."""
        if self.failure is not None and self.failure.traceback:
            return self.failure.traceback
        return self.process.output.decode(errors="replace") if self.process is not None else ""
