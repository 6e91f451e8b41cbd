"""A project in a short folder, and supervisors of it with fake children."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.engine import Engine
from runtime.errors import MuxError
from runtime.project import Project, project_for
from runtime.supervisor.api import ApplyRequest, DownRequest, Event
from runtime.supervisor.client import ControlClient
from runtime.supervisor.control import guarded
from runtime.supervisor.record import read_record
from runtime.supervisor.supervisor import Supervisor, sole
from runtime.supervisor.worker import Worker
from tests.supervisor.fake_supervisor import fake_supervisor, make
from tests.supervisor.waiting import await_end


@pytest.fixture
def env(short_dir: Path) -> dict[str, str]:
    """The deploying shell's environment, with every state folder in ``short_dir``."""
    (short_dir / "run").mkdir()
    return {**os.environ, "MUX_HOME": str(short_dir / "home"), "XDG_RUNTIME_DIR": str(short_dir / "run")}


@pytest.fixture
def project(short_dir: Path, env: dict[str, str]) -> Project:
    config = short_dir / "mux.yaml"
    config.write_text("")
    made = project_for("shop", config, env)
    made.create()
    return made


Apply = Callable[..., ApplyRequest]


@pytest.fixture
def deploy(env: dict[str, str]) -> Apply:
    """Make a deploy request of one deployment ``Model``; ``mode`` is what its fake replicas do. None: not written."""

    def request(mode: str = "ready", replicas: int | None = 1, *, wait: bool = True, **settings: Any) -> ApplyRequest:
        timeout_s = settings.pop("timeout_s", None)
        http = settings.pop("http", {"port": 0})
        deployment = {
            "name": "Model",
            "loader": "app:load",
            "num_replicas": replicas,
            "user_config": {"mode": mode},
            "graceful_shutdown_timeout_s": 1.0,
            **settings,
        }
        deployment = {key: value for key, value in deployment.items() if value is not None}
        config = {"name": "shop", "http": http, "deployments": [deployment]}
        return ApplyRequest(config=config, env=env, digests={}, wait=wait, timeout_s=timeout_s)

    return request


@pytest.fixture
def client(project: Project, env: dict[str, str]) -> Iterator[ControlClient]:
    """A client of a real supervisor process, which is ended afterwards."""
    started = fake_supervisor(project, env)
    yield started
    end_supervisor(project)


def end_supervisor(project: Project) -> None:
    record = read_record(project)
    if record is None:
        return
    try:
        list(ControlClient(project).down(DownRequest(timeout_s=0.5)))
    except MuxError:
        os.kill(record.pid, signal.SIGKILL)
    await_end(record.pid)


Running = Callable[..., AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def running(project: Project) -> Running:
    """Run a supervisor inside the test's own loop; ``engine`` wraps the one that its children run in."""

    @asynccontextmanager
    async def run(engine: Callable[[Engine], Engine] = lambda engine: engine) -> AsyncIterator[Supervisor]:
        with sole(project):
            supervisor, listening = make(project, engine), asyncio.Event()
            serving = asyncio.create_task(supervisor.run(listening.set))
            try:
                async with asyncio.timeout(12):
                    await listening.wait()
                    yield supervisor
                supervisor.operations.stop(timeout_s=0.5)
                async with asyncio.timeout(10):
                    await serving
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    return run


def bug(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


async def carried_out(events: AsyncIterator[Event]) -> list[Event]:
    """Return every event of a command, an error as the last one."""
    return [event async for event in guarded(events, bug)]


async def told(worker: Worker, what: str) -> dict[str, Any]:
    """Return what a child answers to a question."""
    data: dict[str, Any] = (await worker.ask(what, {}, 5.0)).data
    return data


def last_of(events: Iterator[Event]) -> Event:
    """Return the last event of a command."""
    return list(events)[-1]
