"""The router process: ``python -P -m runtime.router --spec PATH``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from runtime.errors import MuxError
from runtime.link.channel import ControlChannel, watch_parent
from runtime.link.control import (
    Answer,
    Applied,
    ChildSpec,
    Drain,
    Failed,
    Ping,
    Pong,
    Query,
    Ready,
    Reconfigure,
    Table,
    ToChild,
)
from runtime.observe import events
from runtime.observe.logs import Identity, LogWriter
from runtime.router.replica import Replica
from runtime.router.router import Router

GC_THRESHOLD: Final = (20_000, 20, 20)
DEFAULT_DRAIN_S: Final = 20.0
OPEN_FILES: Final = 65536  # asked for, if the hard limit allows: each client connection needs one


class Process:
    """The router between its supervisor's words and its log."""

    def __init__(self, spec: ChildSpec, log: LogWriter) -> None:
        self._spec = spec
        self._log = log
        self._router = Router(spec, log)
        self._tasks: set[asyncio.Task[None]] = set()  # answers to tables and queries that take time
        self._channel: ControlChannel | None = None
        self._serving: asyncio.Task[None] | None = None  # since the first table that has routes
        self._status = 0
        self._drain_s: float | None = None
        self._wake = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to drain, or until the supervisor has gone; return the exit status."""
        self._channel = channel = await ControlChannel.open(self._spec.control_fd)
        self._catch_signals()
        channel.send(Ready())
        reader = asyncio.get_running_loop().create_task(self._read(channel))
        flusher = asyncio.get_running_loop().create_task(self._flush())
        await self._wake.wait()
        await self._stop(reader, flusher)
        await channel.close()
        return self._status

    async def _serve(self, channel: ControlChannel) -> None:
        """Accept from the public sockets; not before there are routes, so that nobody is told that there are none."""
        sockets = [socket.socket(fileno=fd) for fd in self._spec.listen_fds]
        for sock in sockets:
            sock.setblocking(False)
        try:
            await self._router.start(sockets)
        except (OSError, TimeoutError) as exc:
            channel.send(Failed(stage="bind", message=str(exc), traceback=traceback.format_exc()))
            self._status = 1
            self._wake.set()
            raise
        self._log.event("The router is ready.", event=events.PROCESS_READY)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin_drain, DEFAULT_DRAIN_S)

    def _begin_drain(self, deadline_s: float) -> None:
        self._drain_s = deadline_s
        self._wake.set()

    async def _stop(self, reader: asyncio.Task[None], flusher: asyncio.Task[None]) -> None:
        drain_s = DEFAULT_DRAIN_S if self._drain_s is None else self._drain_s
        self._log.event(f"Draining for at most {drain_s:g} s.", event=events.PROCESS_DRAINING)
        ended = await self._router.stop(drain_s)
        for task in (reader, flusher, *self._tasks):
            task.cancel()
        await asyncio.gather(reader, flusher, *self._tasks, return_exceptions=True)
        how = "Stopped." if ended else "Stopped; requests that outlasted the drain were cut off."
        self._log.event(how, event=events.PROCESS_STOPPED)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._log.flush_interval_s)
            self._log.flush()

    async def _read(self, channel: ControlChannel) -> None:
        """Take the supervisor's words; without a supervisor there is nothing to serve for."""
        try:
            async for message in channel:
                self._take(channel, message)
        except MuxError as exc:
            self._log.event(f"The control channel broke: {exc.message}", level="ERROR")
        self._wake.set()

    def _take(self, channel: ControlChannel, message: ToChild) -> None:
        if isinstance(message, Ping):
            why = self._router.fleet.stalled()
            channel.send(Pong(seq=message.seq, healthy=not why, message=why))
        elif isinstance(message, Table):
            replicas = self._router.apply(message)
            if self._serving is None and message.routes:
                self._serving = self._spawn(self._serve(channel))
            self._spawn(self._applied(channel, message.generation, replicas))
        elif isinstance(message, Query):
            self._spawn(self._answer(channel, message))
        elif isinstance(message, Reconfigure):
            channel.send(Answer(id=message.id, ok=False, message="a router is reconfigured by its table"))
        elif isinstance(message, Drain):
            self._begin_drain(message.deadline_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            trace = "".join(traceback.format_exception(exc))
            self._log.event(f"A word of the supervisor could not be answered.\n{trace}", level="ERROR")

    async def _applied(self, channel: ControlChannel, generation: int, replicas: list[Replica]) -> None:
        """Say so once every replica is connected; one that leaves the table meanwhile is not waited for."""
        if self._serving is not None:
            await asyncio.wait({self._serving})
        for replica in replicas:
            await replica.up.wait()
        channel.send(Applied(generation=generation))

    async def _answer(self, channel: ControlChannel, query: Query) -> None:
        try:
            data = await self._router.overview.query(query.what, query.args)
            channel.send(Answer(id=query.id, data=data))
        except MuxError as error:
            channel.send(Answer(id=query.id, ok=False, message=error.message, data=error.to_payload()))


class _ToLog(logging.Handler):
    """Sends what libraries log to the router's own log."""

    def __init__(self, log: LogWriter) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._log.event(text, level=record.levelname, event=events.OUTPUT_LOG, file=record.filename, line=record.lineno)


def raise_open_files() -> None:
    """Raise the soft limit on open files, often 1024: beyond it connections are closed without a word."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str] | None = None) -> int:
    """Run the router of a spec; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -P -m runtime.router", description=__doc__)
    parser.add_argument("--spec", required=True, type=Path, help="the ChildSpec, a JSON file")
    spec = msgspec.json.decode(parser.parse_args(arguments).spec.read_bytes(), type=ChildSpec)
    log = LogWriter(Path(spec.log_dir), Identity(spec.name))
    logging.basicConfig(handlers=[_ToLog(log)], level=logging.WARNING)
    watch_parent(spec.liveness_fd, parent_pid=spec.parent_pid)
    raise_open_files()
    log.event(f"Router {spec.name} starts as process {os.getpid()}.", event=events.PROCESS_STARTING)
    gc.freeze()  # what lives now lives on, and requests make few cycles: the default would collect all the time
    gc.set_threshold(*GC_THRESHOLD)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Process(spec, log).run())
    except Exception:
        log.event(f"The router failed.\n{traceback.format_exc()}", level="ERROR", event=events.PROCESS_FAILED)
        raise
    finally:
        log.close()
