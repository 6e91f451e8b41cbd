"""The supervisor of one project, put together: lock, sweep, control socket, children, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

import filelock
import msgspec

from runtime.core.restart import RestartPolicy
from runtime.engines.engine import Engine
from runtime.engines.local import LocalEngine, created_at, write_private
from runtime.errors import Locked
from runtime.observe import events
from runtime.observe.logs import Identity, LogWriter
from runtime.observe.retention import prune_logs
from runtime.project import Project
from runtime.supervisor.api import ApplyRequest, Event, ProjectStatus
from runtime.supervisor.chronicle import Chronicle
from runtime.supervisor.journal import Journal
from runtime.supervisor.models import Models
from runtime.supervisor.operations import Operations
from runtime.supervisor.pool import Pool
from runtime.supervisor.ports import PublicSockets
from runtime.supervisor.record import SupervisorRecord, read_record
from runtime.supervisor.remains import Remains
from runtime.supervisor.specs import Specs, kept_token
from runtime.supervisor.status import StatusReport
from runtime.supervisor.tasks import TaskSet

LOCK_TIMEOUT_S: Final = 5.0  # for a predecessor that is exiting
IDLE_TIMEOUT_S: Final = 10.0  # without a deploy: whoever started this has gone
UPKEEP_PERIOD_S: Final = 10.0


@contextmanager
def sole(project: Project) -> Iterator[None]:
    """Hold the project's lock. Raises Locked, naming the supervisor that has it."""
    lock = filelock.FileLock(project.lock_file)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S, poll_interval=0.02)
    except filelock.Timeout:
        record = read_record(project)
        who = f"pid {record.pid}" if record else "one that is starting"
        raise Locked(f"The project {project.name!r} has a supervisor already ({who}).") from None
    try:
        yield
    finally:
        lock.release()


class Supervisor:
    """Runs one project. ``engine`` and ``policy`` are where children run and when they are started again."""

    def __init__(
        self,
        project: Project,
        *,
        engine: Engine | None = None,
        policy: Callable[[], RestartPolicy] = RestartPolicy,
    ) -> None:
        self.project = project
        self._engine = engine or LocalEngine(project.specs)
        self._log = LogWriter(project.log_dir("supervisor"), Identity(process="supervisor"))
        self._journal = Journal(self._log)
        self._chronicle = Chronicle(self._journal)
        self._sockets = PublicSockets()
        self._remains = Remains(project.children_file)
        self._tasks = TaskSet(self._chronicle.task_failed)
        self._pool = Pool(
            Specs(project, kept_token(project.root / "calls.token")),
            self._engine,
            self._sockets,
            self._chronicle,
            on_change=lambda: self.operations.changed(),
            on_children=self._record_children,
            on_fault=lambda error: self.operations.faulted(error),
            policy=policy,
        )
        self.operations = Operations(project, self._pool, self._sockets, self._journal, self.status, self._withdraw)
        rollouts = self.operations.rollouts
        self._status = StatusReport(project, self._pool, self._sockets, rollouts, lambda: self.operations.going_down)

    async def run(
        self,
        on_listening: Callable[[], None] = lambda: None,
        first: ApplyRequest | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Event | None:
        """Serve until the project is taken down, by command or signal.

        ``on_listening`` is called once the control socket takes connections. ``first`` is applied at once, its
        events given to ``on_event``; the last of them is returned. Only under the project's lock.
        """
        self._clear_remains()
        listener = self._listen()
        on_listening()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.operations.stop)
        last: list[Event] = []
        try:
            if first is not None:
                self._tasks.start(self._deploy(first, on_event, last), "first deploy")
            self._tasks.start(self._upkeep(), "upkeep")
            await self._serve(listener)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
            listener.close()
            await self._close()
        return last[0] if last else None

    async def status(self) -> ProjectStatus:
        """Return the project's status now."""
        return await self._status.make()

    # --- before and after

    def _clear_remains(self) -> None:
        """End what a supervisor that died left behind."""
        for name in self._remains.sweep():
            self._chronicle.note(f"{name} was left behind by a supervisor that died; it was killed.")
        for stale in (*self.project.specs.iterdir(), *self.project.sockets.glob("*.sock")):
            stale.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        self.project.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)  # a predecessor that ends takes it away
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.project.control_socket))
        self.project.control_socket.chmod(0o600)
        listener.listen(128)
        listener.setblocking(False)
        return listener

    def _withdraw(self) -> None:
        """Be found by no one any more: nothing runs."""
        self._remains.clear()
        self.project.desired_file.unlink(missing_ok=True)
        self.project.supervisor_file.unlink(missing_ok=True)
        for path in self.project.sockets.glob("*.sock"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it has gone, or something of another's is in it
            self.project.sockets.rmdir()

    async def _close(self) -> None:
        await self._pool.close()
        await self._tasks.close()
        self._sockets.keep_only(None)
        self._engine.close()
        self._withdraw()
        self._log.event("The supervisor has stopped.", event=events.PROCESS_STOPPED)
        self._log.close()

    # --- while it runs

    async def _serve(self, listener: socket.socket) -> None:
        # Imported here: a deploy's request already waits in the socket while this takes its time.
        from runtime.supervisor.control import control_app
        from runtime.supervisor.server import control_server

        self._record()
        app = control_app(self.operations, Models(self._pool), self.status, self._chronicle.task_failed)
        await control_server(app, self.operations.finished).serve([listener])

    def _record(self) -> None:
        pid = os.getpid()
        record = SupervisorRecord(
            pid=pid,
            create_time=created_at(pid),
            version=_version(),
            control_socket=str(self.project.control_socket),
        )
        write_private(self.project.supervisor_file, msgspec.json.encode(record))
        self._log.event("The supervisor is ready.", event=events.PROCESS_READY)

    def _record_children(self) -> None:
        """Keep the record that a successor sweeps by. Where the disk refuses it, the children matter more."""
        try:
            self._remains.record(self._pool.alive)
        except OSError as exc:
            self._chronicle.note(f"the children could not be recorded: {exc}")

    async def _deploy(self, request: ApplyRequest, on_event: Callable[[Event], None], last: list[Event]) -> None:
        from runtime.supervisor.control import guarded

        told = guarded(self.operations.apply(request), self._chronicle.task_failed)
        async with aclosing(cast("Any", told)) as told_events:
            async for event in told_events:
                last[:] = [event]
                on_event(event)

    async def _upkeep(self) -> None:
        idle_until = time.monotonic() + IDLE_TIMEOUT_S
        while True:
            await asyncio.sleep(UPKEEP_PERIOD_S)
            self._log.flush()
            self._prune_logs()
            nothing = self._pool.desired is None and not self._pool.workers and self.operations.rollouts.current is None
            if nothing and time.monotonic() > idle_until:
                self.operations.stop()

    def _prune_logs(self) -> None:
        live = {Path(one.spec.log_dir) for one in self._pool.workers}
        try:
            prune_logs(self.project.logs, live | {self.project.log_dir("supervisor")})
        except OSError as exc:  # a folder went meanwhile, or the disk refuses; it is looked at again soon
            self._chronicle.note(f"the logs of ended processes could not be pruned: {exc}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # not at the top: it is slow

    try:
        return version("mux")
    except PackageNotFoundError:  # run from a source tree
        return "0"
