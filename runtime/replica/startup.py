"""Starting a replica, stage by stage, with the stage known to whoever must say why it failed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

from runtime.core.events import Key, Preload
from runtime.core.placement import copies_for
from runtime.errors import MuxError, StartError
from runtime.link.connection import Link
from runtime.link.control import ChildSpec, Failed
from runtime.link.endpoint import LinkServer, listen
from runtime.link.frames import MAGIC, VERSION, Command, Hello
from runtime.observe.logs import LogWriter
from runtime.replica import environment
from runtime.replica.building import build_host
from runtime.replica.host import Host
from runtime.replica.importer import describe, user_traceback
from runtime.replica.multiplex import Progress
from runtime.replica.settings import DeploymentSettings, user_config_of

GC_THRESHOLD: Final = (20_000, 20, 20)  # requests make few cycles; the default collects every 700 allocations


class Startup:
    """``host`` is set once the code is imported, ``server`` once it listens: what there is, ``drain`` must end."""

    def __init__(self, spec: ChildSpec, config: DeploymentSettings, writer: LogWriter, progress: Progress) -> None:
        self.stage = "import"
        self.host: Host | None = None
        self.server: LinkServer | None = None
        self._spec = spec
        self._config = config
        self._writer = writer
        self._progress = progress

    async def run(self, on_command: Callable[[Link, Command], None], on_fault: Callable[[str], None]) -> None:
        """Bring the replica to where it takes requests. Raises what went wrong in ``stage``."""
        spec, config = self._spec, self._config
        path = config.import_path or config.loader
        self._progress("importing", f"importing {path}", None)
        threads = environment.torch_threads(config.torch_threads, spec.replicas, environment.cores())
        environment.prepare(spec.config_dir, threads, override=config.torch_threads is not None)
        self.host = host = build_host(
            spec, config, self._writer, progress=self._progress, on_command=on_command, on_fault=on_fault
        )
        environment.settle_torch(threads)
        self.stage = "init"
        self._progress("constructing", f"constructing {config.name}", None)
        await host.servable.start(user_config_of(config, host.servable))
        self.stage = "preload"
        await self._preload(host)
        self.stage = "bind"
        self.server = await listen(spec.address, self._hello, host, token=spec.token)
        gc.collect()
        gc.freeze()  # what lives now lives on: collections need not walk over it
        gc.set_threshold(*GC_THRESHOLD)

    async def _preload(self, host: Host) -> None:
        """Load what this replica shall hold before it is ready; all at once, as the brain permits."""
        config, spec = self._config, self._spec
        pins = copies_for(config.pin, config.copies, spec.index, spec.replicas)
        wanted = copies_for(config.preload, config.copies, spec.index, spec.replicas)
        for model in dict.fromkeys([*pins, *wanted]):
            host.apply(Preload(Key(0, model), pinned=model in pins))
        async with asyncio.TaskGroup() as group:
            for model in dict.fromkeys([*pins, *wanted]):
                group.create_task(self._preloaded(host, model))
        if len(host.limits.slots) == 1:
            self._resume(host, set(pins) | set(wanted))

    async def _preloaded(self, host: Host, model: str) -> None:
        try:
            await host.asking.ask(0, model, None)
        except Exception as exc:
            why = exc.message if isinstance(exc, MuxError) else describe(exc)
            traceback = host.models.traceback(Key(0, model))
            raise StartError(f"preloading model {model!r} failed: {why}", traceback=traceback) from exc

    def _resume(self, host: Host, held: set[str]) -> None:
        """Begin to load what the outgoing replica held, as far as there is room; nobody waits for it."""
        cap = host.limits.slots[0]
        others = [model for model in self._spec.preload if model not in held]
        for model in others if cap < 0 else others[: max(0, cap - len(held))]:
            host.apply(Preload(Key(0, model)))

    def _hello(self) -> Hello:
        spec, host = self._spec, self.host
        assert host is not None, "it listens after the host is built"
        limits = host.limits
        return Hello(
            MAGIC,
            VERSION,
            "replica",
            spec.name,
            token=spec.token,
            deployment=self._config.name,
            index=spec.index,
            generation=spec.generation,
            places=limits.places,
            slots=-1 if -1 in limits.slots else sum(limits.slots),
            caches=len(limits.slots),
            max_batch=limits.max_batch,
            max_concurrent_loads=limits.max_concurrent_loads,
        )

    def failed(self, exc: BaseException) -> Failed:
        """Return the word to the supervisor for what ``run`` raised."""
        if isinstance(exc, BaseExceptionGroup):
            exc = exc.exceptions[0]
        if isinstance(exc, StartError):
            message = f"{exc.message} ({exc.hint})" if exc.hint else exc.message
            return Failed(stage=self.stage, message=message, traceback=exc.traceback)
        if isinstance(exc, OSError) and self.stage == "bind":
            return Failed(stage=self.stage, message=f"cannot listen on {self._spec.address}: {exc.strerror or exc}")
        return Failed(
            stage=self.stage,
            message=f"{_DOING[self.stage].format(self._config.name)} failed: {describe(exc)}",
            traceback=user_traceback(exc),
        )


_DOING = {
    "import": "importing the code of {}",
    "init": "constructing {}",
    "preload": "preloading the models of {}",
    "bind": "listening for {}",
}
