"""One deployment in this process: the replica's own code, the real residency, a link over a socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.config.deployment import Deployment as DeploymentConfig
from runtime.core.events import (
    Give,
    Key,
    Load,
    Loaded,
    LoadFailed,
    Preload,
    ResidencyEffect,
    ResidencyEvent,
    Stopping,
    Unload,
    Unloaded,
)  # fmt: skip
from runtime.core.residency import Residency
from runtime.link.connection import Link
from runtime.link.frames import MAGIC, VERSION, Command, Hello
from runtime.observe.logs import Identity, LogWriter
from runtime.replica.class_style import ClassStyle
from runtime.replica.executor import Executor
from runtime.replica.host import Host
from runtime.replica.multiplex import Models
from runtime.replica.settings import DeploymentSettings, limits_of, user_config_of
from runtime.serve.application import BoundDeployment
from runtime.serve.calls import OnlyCalls
from runtime.serve.context import CallTransport, enter_replica

MANY_PLACES: Final = 1_000_000  # a test has no router whose queues would hold requests back
STOP_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class ModelRecord:
    """What one deployment's models went through, in order. Of several loaders, all."""

    loads: list[str] = field(default_factory=list)  # begun
    failed: list[str] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)  # begun
    hits: int = 0  # times that a loader was called and its model was there
    resident: list[str] = field(default_factory=list)  # now, in the order of their loads


class RecordingResidency(Residency):
    """The residency, with a record of what it did."""

    def __init__(self, limits: Any, record: ModelRecord) -> None:
        super().__init__(limits)
        self.record = record

    def handle(self, event: ResidencyEvent, now: float) -> list[ResidencyEffect]:
        record = self.record
        if isinstance(event, Loaded):
            record.resident.append(event.key.model)
        elif isinstance(event, LoadFailed):
            record.failed.append(event.key.model)
        elif isinstance(event, Unloaded) and event.key.model in record.resident:
            record.resident.remove(event.key.model)
        effects = super().handle(event, now)
        for effect in effects:
            if isinstance(effect, Load):
                record.loads.append(effect.key.model)
            elif isinstance(effect, Unload):
                record.unloads.append(effect.key.model)
            elif isinstance(effect, Give):
                record.hits += effect.hit
        return effects


class _Log(LogWriter):
    """The replica's log, which also keeps what went wrong, for assertions."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        super().__init__(folder, identity)
        self.errors: list[str] = []

    def event(self, message: str, *, level: str = "INFO", **fields: Any) -> None:
        if level == "ERROR":
            self.errors.append(message)
        super().event(message, level=level, **fields)


class LocalReplica:
    """Hosts one bound deployment on the running loop. Implements ``ReplicaContext``."""

    def __init__(
        self,
        bound: BoundDeployment,
        app_name: str,
        transport: CallTransport,
        log_dir: Path,
        config: Mapping[str, Any],
    ) -> None:
        """``config``: keys of the deployment in the YAML, which go before what the code says."""
        self.app_name = app_name
        self.deployment = bound.name
        self.replica_id = "test"
        self.replica_tag = f"{app_name}_{bound.name}#{self.replica_id}"
        self.transport = transport
        self.record = ModelRecord()
        self.faults: list[str] = []
        checked = DeploymentConfig.model_validate({
            "name": bound.name, "application": app_name, "import_path": "test:app", **config,
        })  # fmt: skip
        self._config = DeploymentSettings.of_spec(checked.to_spec())
        self._log = _Log(log_dir / bound.name, Identity(f"{bound.name}#test", app_name, bound.name, "test"))
        executor = Executor(1)
        self.servable = ClassStyle(bound, executor)
        limits = msgspec.structs.replace(limits_of(self._config, self.servable), places=MANY_PLACES, load_early=False)
        executor.resize(self._config.executor_threads or 8)
        base = copy_context()
        base.run(enter_replica, self)
        self.host = Host(
            RecordingResidency(limits, self.record),
            limits,
            self.servable,
            self._log,
            name=f"{bound.name}#test",
            application=app_name,
            deployment=bound.name,
            executor=executor,
            base=base,
            max_buffered_body_bytes=self._config.max_buffered_body_bytes,
            on_command=_no_command,
            on_fault=self.faults.append,
        )
        self.host.models = Models(
            self.servable,
            self._log,
            self.host.apply,
            self.host.now,
            base=base,
            load_timeout_s=self._config.load_timeout_s,
            changed=self.host.changed,
        )
        self.link: Link  # the test's end; set by ``start``

    @property
    def servable_object(self) -> object:
        return self.servable.servable_object

    @property
    def errors(self) -> list[str]:
        """What the replica logged as errors: the tracebacks of user code, mostly."""
        return self._log.errors

    async def load_model(self, cache: int, model_id: str, owner: object | None) -> object:
        return await self.host.asking.ask(cache, model_id, owner)

    async def start(self) -> None:
        """Construct the deployment, load what the config preloads, and connect."""
        await self._inside(self.servable.start(user_config_of(self._config, self.servable)))
        for model in dict.fromkeys([*self._config.pin, *self._config.preload]):
            self.host.apply(Preload(Key(0, model), pinned=model in self._config.pin))
            await self.load_model(0, model, None)
        self.link = await _connected(self.host)

    async def reconfigure(self, user_config: Any) -> None:
        await self._inside(self.servable.reconfigure(user_config))

    async def check_health(self) -> None:
        await self._inside(self.servable.check_health())

    async def stop(self) -> None:
        """Drain: let requests end, unload every model, let the instance go."""
        host = self.host
        host.apply(Stopping())
        if not await host.until(lambda: not host.works, 0.0):
            host.cancel_all("draining")
            await host.until(lambda: not host.works, STOP_TIMEOUT_S)
        await host.until(lambda: host.models.idle, STOP_TIMEOUT_S)
        try:
            await self._inside(self.servable.stop())
        finally:
            for link in list(host.links.values()):
                link.close("the test is over")
            await host.until(lambda: not host.links, STOP_TIMEOUT_S)
            host.close()
            self._log.close()

    async def _inside(self, work: Any) -> None:
        """Run ``work`` where the current replica is this one."""
        await asyncio.get_running_loop().create_task(work, context=self.host.base.copy())


async def _connected(host: Host) -> Link:
    """Join a new link to ``host`` over a socket pair and return the far end."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(near.close)
        on_failure.callback(far.close)
        await loop.connect_accepted_socket(lambda: Link(lambda: _hello("replica"), host, accepting=True), near)
        _, link = await loop.create_unix_connection(
            lambda: Link(lambda: _hello("router"), OnlyCalls(), accepting=False), sock=far
        )
        await link.ready
        on_failure.pop_all()
    return link


def _hello(role: str) -> Hello:
    return Hello(MAGIC, VERSION, role, "test")


def _no_command(link: Link, command: Command) -> None:
    raise AssertionError(f"a test's router sends no {command.verb}")
