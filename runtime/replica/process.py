"""The life of a replica process: start, serve, answer its supervisor, drain."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from runtime.core.events import Stopping
from runtime.errors import MuxError, ProtocolError
from runtime.link.channel import ControlChannel
from runtime.link.connection import Link
from runtime.link.control import (
    Answer,
    ChildSpec,
    Drain,
    FaultNotice,
    Ping,
    Pong,
    Progress,
    Query,
    Ready,
    Reconfigure,
)  # fmt: skip
from runtime.link.frames import Command, Reply
from runtime.observe import events
from runtime.observe.logs import LogWriter
from runtime.replica.building import reconfigure_host
from runtime.replica.host import Host
from runtime.replica.importer import describe, user_traceback
from runtime.replica.questions import Questions
from runtime.replica.settings import DeploymentSettings, option, user_config_of
from runtime.replica.startup import Startup
from runtime.replica.watchdog import Watchdog

COULD_NOT_START: Final = 3
LET_GO_S: Final = 5.0  # for what a cancelled request, or the instance's own cleanup, may still take
UNLOAD_S: Final = 60.0  # for the cleanup of all models; the supervisor's own limit comes first


class ReplicaProcess:
    """One replica. ``run`` returns the exit code."""

    def __init__(self, spec: ChildSpec, channel: ControlChannel, writer: LogWriter) -> None:
        self._spec = spec
        self._config = DeploymentSettings.of_spec(spec.deployment)
        self._channel = channel
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._startup = Startup(spec, self._config, writer, self._progress)
        self._stop: asyncio.Future[float] = self._loop.create_future()  # the drain's deadline in seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False

    # --- life ---------------------------------------------------------------------------------------------

    async def run(self) -> int:
        self._writer.event(f"Starting {self._spec.name}.", event=events.PROCESS_STARTING)
        self._loop.add_signal_handler(signal.SIGTERM, self.stop, None)
        self._spawn(self._listen_to_supervisor(), "control")
        flusher = self._spawn(self._flush(), "flush logs")
        watchdog = Watchdog(self._writer)
        try:
            if not await self._start():
                return COULD_NOT_START
            watchdog.start()
            self._announce()
            await self._stop
            return 0
        except asyncio.CancelledError:  # the loop ends under it: a task of user code has let SystemExit out
            if self._startup.host is not None:
                self._startup.host.dying = True
            raise
        finally:
            await self._drain(self._stop.result() if self._stop.done() else 0.0)
            watchdog.stop()
            flusher.cancel()
            await self._reap()
            self._loop.remove_signal_handler(signal.SIGTERM)

    def stop(self, deadline_s: float | None) -> None:
        """Drain, then end. None: within the deployment's graceful_shutdown_timeout_s."""
        if not self._stop.done():
            host = self._startup.host
            own = option(self._config, host.servable, "graceful_shutdown_timeout_s") if host is not None else 0.0
            self._stop.set_result(own if deadline_s is None else deadline_s)

    async def _start(self) -> bool:
        """Run the startup until it is done or stopped; return whether to go on to serve. Failures are told."""
        starting = asyncio.create_task(self._startup.run(self._on_command, self._on_fault), name="startup")
        either: list[asyncio.Future[Any]] = [starting, self._stop]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
            return True
        exc = starting.exception()
        if exc is None:
            return True
        failed = self._startup.failed(exc)
        text = f"{failed.message}\n{failed.traceback}".rstrip()
        self._writer.event(text, level="ERROR", event=events.PROCESS_FAILED, stage=failed.stage)
        self._channel.send(failed)
        return False

    def _announce(self) -> None:
        host = self._startup.host
        if host is None or self._stop.done():
            return
        self._ready = True
        self._writer.event(f"{self._spec.name} is ready.", event=events.PROCESS_READY)
        self._channel.send(Ready(detail={"options": msgspec.to_builtins(host.servable.options, enc_hook=repr)}))

    async def _drain(self, deadline_s: float) -> None:
        """Finish what runs, unload every model, let the instance go."""
        host, server = self._startup.host, self._startup.server
        if host is None:
            return
        self._writer.event("Draining: no new requests.", event=events.PROCESS_DRAINING)
        for link in host.links.values():
            link.goaway("draining")
        host.apply(Stopping())
        if not await host.until(lambda: not host.works, deadline_s):
            self._writer.event(
                f"{len(host.works)} requests were still running after {deadline_s:g} s and are cancelled.",
                level="WARNING",
                event=events.PROCESS_DRAINING,
            )
            host.cancel_all("draining")
            await host.until(lambda: not host.works, LET_GO_S)
        if not await host.until(lambda: host.models.idle, UNLOAD_S):
            held = ", ".join(repr(key.model) for key in host.models.objects)
            self._writer.event(f"Models still held: {held}.", level="ERROR", event=events.MODEL_UNLOAD_FAILED)
        await self._let_go(host)
        if server is not None:
            server.close()
            server.close_links("the replica has stopped")
        host.close()
        self._writer.event(f"{self._spec.name} has stopped.", event=events.PROCESS_STOPPED)

    async def _let_go(self, host: Host) -> None:
        """Run the instance's own end; what it raises is logged, as nobody else waits for it."""
        try:
            async with asyncio.timeout(LET_GO_S):
                await host.servable.stop()
        except Exception as exc:
            text = f"Stopping {self._config.name} failed:\n{user_traceback(exc)}"
            self._writer.event(text.rstrip(), level="ERROR", event=events.PROCESS_STOPPED)

    # --- the supervisor -----------------------------------------------------------------------------------

    async def _listen_to_supervisor(self) -> None:
        try:
            async for message in self._channel:
                self._hear(message)
        except ProtocolError as exc:
            self._writer.event(exc.message, level="ERROR", event=events.PROCESS_FAILED)
        self.stop(None)  # the supervisor has gone

    def _hear(self, message: object) -> None:
        if isinstance(message, Drain):
            self.stop(message.deadline_s)
        elif isinstance(message, Ping):
            self._spawn(self._pong(message), "ping")
        elif isinstance(message, Query):
            self._spawn(self._answer(message), f"query {message.what}")
        elif isinstance(message, Reconfigure):
            self._spawn(self._reconfigure(message), "reconfigure")

    async def _pong(self, ping: Ping) -> None:
        host = self._startup.host
        pong = Pong(seq=ping.seq)
        if ping.health and host is not None and self._ready:
            limit_s = option(self._config, host.servable, "health_check_timeout_s")
            try:
                async with asyncio.timeout(limit_s):
                    await host.servable.check_health()
            except TimeoutError:
                pong = Pong(seq=ping.seq, healthy=False, message=f"check_health took more than {limit_s:g} s")
            except Exception as exc:
                pong = Pong(seq=ping.seq, healthy=False, message=f"check_health: {describe(exc)}")
        self._channel.send(pong)

    async def _answer(self, query: Query) -> None:
        try:
            data = await self._questions().answer(query.what, query.args)
            answer = Answer(id=query.id, data=data)
        except Exception as exc:
            answer = Answer(id=query.id, ok=False, message=_sentence(exc), data=_payload(exc))
        self._channel.send(answer)

    async def _reconfigure(self, message: Reconfigure) -> None:
        try:
            await self._apply_config(message.deployment)
            answer = Answer(id=message.id)
        except Exception as exc:
            story = user_traceback(exc)
            text = f"reconfigure failed:\n{story}"
            self._writer.event(text.rstrip(), level="ERROR", event=events.PROCESS_FAILED)
            data = {**_payload(exc), "traceback": story}
            answer = Answer(id=message.id, ok=False, message=_sentence(exc), data=data)
        self._channel.send(answer)

    async def _apply_config(self, deployment: dict[str, Any]) -> None:
        """Hand a new user_config to the code, then let new limits hold. Neither, if the code refuses it."""
        host = self._startup.host
        if host is None:
            raise MuxError("the replica is still starting")
        config = DeploymentSettings.of_spec(deployment)
        fresh = user_config_of(config, host.servable)
        if fresh != user_config_of(self._config, host.servable):
            await host.servable.reconfigure({} if fresh is None else fresh)
        reconfigure_host(host, config)
        self._config = config

    def _questions(self) -> Questions:
        if self._startup.host is None:
            raise MuxError("the replica is still starting")
        return Questions(self._startup.host)

    def _progress(self, stage: str, message: str, fraction: float | None) -> None:
        """Say what the startup is doing; once ready, loads are in the log and not the supervisor's to show."""
        if not self._ready:
            self._channel.send(Progress(stage=stage, message=message, fraction=fraction))

    # --- routers and faults -------------------------------------------------------------------------------

    def _on_command(self, link: Link, command: Command) -> None:
        """Answer an admin verb that a router passes on."""
        self._spawn(self._reply(link, command), f"command {command.verb}")

    async def _reply(self, link: Link, command: Command) -> None:
        try:
            if command.verb == "drain":
                self.stop(None)
                data: Any = None
            else:
                args = msgspec.msgpack.decode(command.data) or {}
                data = await self._questions().answer(command.verb, {"model": command.model, **args})
            reply = Reply(command.id, True, data=msgspec.Raw(msgspec.msgpack.encode(data)))
        except Exception as exc:
            reply = Reply(command.id, False, _sentence(exc), msgspec.Raw(msgspec.msgpack.encode(_payload(exc))))
        if link.alive and command.id:
            link.reply(reply)

    def _on_fault(self, why: str) -> None:
        self._writer.event(f"This replica cannot go on: {why}.", level="ERROR", event=events.PROCESS_FAILED)
        self._channel.send(FaultNotice(why=why))

    # --- tasks --------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._writer.flush_interval_s)
            self._writer.flush()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            text = "".join(traceback.format_exception(exc)).rstrip()
            self._writer.event(f"{task.get_name()}: {text}", level="ERROR", event=events.PROCESS_FAILED)

    async def _reap(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LET_GO_S)


def _sentence(exc: Exception) -> str:
    return exc.message if isinstance(exc, MuxError) else describe(exc)


def _payload(exc: Exception) -> dict[str, Any]:
    return exc.to_payload() if isinstance(exc, MuxError) else {"error": "user_code_failed", "message": describe(exc)}
