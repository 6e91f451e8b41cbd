"""From a spec to a host: imports the user's code in its style and puts the parts of the replica together."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import msgspec

from runtime.core.residency import Residency
from runtime.errors import StartError
from runtime.link.connection import Link
from runtime.link.control import ChildSpec
from runtime.link.frames import Command
from runtime.observe.logs import LogWriter
from runtime.replica.calls import LinkCalls
from runtime.replica.class_style import ClassStyle, bound_deployment
from runtime.replica.context import ServedReplica
from runtime.replica.executor import Executor
from runtime.replica.files import ModelFiles
from runtime.replica.host import Host
from runtime.replica.importer import import_object
from runtime.replica.loader_style import AskModel, LoaderStyle
from runtime.replica.multiplex import Models, Progress
from runtime.replica.router_link import RouterLink
from runtime.replica.servable import Servable
from runtime.replica.settings import DeploymentSettings, limits_of
from runtime.serve.context import set_replica_context


def import_servable(spec: ChildSpec, config: DeploymentSettings, executor: Executor, ask: AskModel) -> Servable:
    """Import the user's code. Raises ``StartError``."""
    if config.import_path is not None:
        what = f"import_path: {config.import_path}"
        found = import_object(config.import_path, "import_path", spec.config_dir)
        return ClassStyle(bound_deployment(found, config.name, spec.application, what), executor)
    if config.loader is None:
        raise StartError(f"{config.name} has neither import_path nor loader")

    def load(import_path: str | None, what: str) -> Any:
        found = import_object(import_path, what, spec.config_dir) if import_path is not None else None
        if found is not None and not callable(found):
            raise StartError(f"{what}: {import_path} is no function but of type {type(found).__name__}")
        return found

    return LoaderStyle(
        load(config.loader, "loader"),
        load(config.handler, "handler"),
        load(config.unloader, "unloader"),
        has_source=config.source is not None,
        executor=executor,
        ask=ask,
    )


def build_host(
    spec: ChildSpec,
    config: DeploymentSettings,
    writer: LogWriter,
    *,
    progress: Progress,
    on_command: Callable[[Link, Command], None],
    on_fault: Callable[[str], None],
) -> Host:
    """Import the user's code and return the host that will run it; nothing of it is constructed yet."""
    executor = Executor(1)

    async def ask(cache: int, model_id: str, owner: object | None) -> object:
        return await host.asking.ask(cache, model_id, owner)

    servable = import_servable(spec, config, executor, ask)
    limits = limits_of(config, servable)
    executor.resize(config.executor_threads or limits.places)

    def links() -> list[Link]:
        return list(host.links.values())

    own = RouterLink(spec.calls_address, spec.calls_token, spec.name)
    host = Host(
        Residency(limits),
        limits,
        servable,
        writer,
        name=spec.name,
        application=spec.application,
        deployment=config.name,
        executor=executor,
        base=copy_context(),
        max_buffered_body_bytes=config.max_buffered_body_bytes,
        on_command=on_command,
        on_fault=on_fault,
        router_link=own,
    )
    set_replica_context(
        ServedReplica(
            spec.application,
            config.name,
            spec.name.rpartition("#")[2],
            ask=ask,
            servable_object=lambda: servable.servable_object,
            transport=LinkCalls(links, host.loop, own),
        )
    )
    host.models = Models(
        servable,
        writer,
        host.apply,
        host.now,
        base=host.base,
        load_timeout_s=config.load_timeout_s,
        files=_files(spec, config, progress),
        progress=progress,
        changed=host.changed,
    )
    return host


def reconfigure_host(host: Host, config: DeploymentSettings) -> None:
    """Let new limits hold from now on; what runs goes on under the old ones. Raises ``StartError``."""
    limits = limits_of(config, host.servable)
    host.set_limits(limits, config.max_buffered_body_bytes)
    host.executor.resize(config.executor_threads or limits.places)
    host.models.load_timeout_s = config.load_timeout_s


def _files(spec: ChildSpec, config: DeploymentSettings, progress: Progress) -> ModelFiles | None:
    """Return the store of the deployment's ``source``; boto3 is only imported for one on S3."""
    if config.source is None:
        return None
    from runtime.stores.store import S3Settings, open_store

    def tell(model: str, fraction: float) -> None:
        progress("downloading", f"downloading model {model!r}", fraction)

    settings = msgspec.convert(config.s3 or {}, S3Settings)
    cache_dir = Path(spec.cache_dir)
    return ModelFiles(open_store(config.source, Path(spec.config_dir), cache_dir, settings, spec.cache_max_bytes), tell)
