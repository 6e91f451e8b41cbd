"""A bug of the supervisor itself: whoever waits for a deploy is told, and what served before goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from runtime.engines.engine import ChildProcess, Engine, Launch
from runtime.project import Project
from runtime.supervisor.api import Event, WaitRequest
from runtime.supervisor.desired import Desired
from runtime.supervisor.worker import Worker
from tests.supervisor.conftest import Apply, Running, carried_out
from tests.supervisor.waiting import soon

pytestmark = [pytest.mark.process, pytest.mark.anyio]


class Bug(Exception):
    """What nobody has thought of."""


class BrokenChannel:
    """A control channel that cannot be read."""

    def __init__(self, channel: Any) -> None:
        self.send, self.abandon = channel.send, channel.abandon

    async def __aiter__(self) -> AsyncIterator[Any]:
        raise Bug("the channel")
        yield


class DeafChild:
    """A child that the supervisor fails to hear."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self.channel = BrokenChannel(child.channel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._child, name)


class BrokenEngine:
    """Spawns no replica with ``fault: spawn`` in its user_config, and hears none with ``fault: hear``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.close = engine.close

    async def spawn(self, launch: Launch) -> Any:
        fault = launch.spec.deployment.get("user_config", {}).get("fault")
        if fault == "spawn":
            raise Bug("the spawn")
        child = await self._engine.spawn(launch)
        return DeafChild(child) if fault == "hear" else child


def logged(project: Project) -> str:
    return "".join(path.read_text() for path in project.log_dir("supervisor").glob("events-*"))


def told_of(events: list[Event], what: str) -> bool:
    last = events[-1]
    return last.kind == "failed" and last.message == f"The supervisor has a fault: Bug({what!r})."


@pytest.mark.parametrize(("fault", "what"), [("spawn", "the spawn"), ("hear", "the channel")])
async def test_a_first_deploy_that_the_supervisor_fails_at_ends(
    running: Running, deploy: Apply, project: Project, fault: str, what: str
) -> None:
    async with running(BrokenEngine) as supervisor:
        assert told_of(await carried_out(supervisor.operations.apply(deploy(user_config={"fault": fault}))), what)
        await supervisor.operations.finished.wait()
        story = logged(project)
        assert "Traceback" in story
        assert f"Bug: {what}" in story


@pytest.mark.parametrize(("fault", "what"), [("spawn", "the spawn"), ("hear", "the channel")])
async def test_a_later_deploy_that_the_supervisor_fails_at_is_taken_back(
    running: Running, deploy: Apply, fault: str, what: str
) -> None:
    async with running(BrokenEngine) as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        before = [one.id for one in supervisor.operations.pool.replicas()]
        new = deploy(user_config={"fault": fault}, max_ongoing_requests=9)
        assert told_of(await carried_out(supervisor.operations.apply(new)), what)
        await soon(lambda: supervisor.operations.pool.settled, "the old generation")
        assert [one.id for one in supervisor.operations.pool.replicas()] == before
        status = await supervisor.status()
        assert (status.state, status.generation) == ("ready", 1)
        assert (await carried_out(supervisor.operations.apply(deploy())))[-1].kind == "done"


async def test_a_step_that_fails_ends_the_deploy_and_whoever_waits(
    running: Running, deploy: Apply, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(desired: Desired, worker: Worker) -> bool:
        raise Bug("the step")

    async with running() as supervisor:
        monkeypatch.setattr(supervisor.operations.pool.live, "hand_over", broken)
        assert told_of(await carried_out(supervisor.operations.apply(deploy())), "the step")
    assert "the task 'reconcile' failed" in logged(project)


async def test_whoever_waits_hears_of_a_fault(running: Running, deploy: Apply) -> None:
    async with running(BrokenEngine) as supervisor:
        await carried_out(supervisor.operations.apply(deploy("hang", wait=False)))
        waiting = supervisor.operations.wait(WaitRequest())
        new = deploy(user_config={"fault": "spawn"}, wait=False)
        await carried_out(supervisor.operations.apply(new))
        assert told_of(await carried_out(waiting), "the spawn")


async def test_a_child_whose_retirement_fails_is_killed(
    running: Running, deploy: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(deadline_s: float) -> None:
        raise Bug("the retirement")

    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        first, second = supervisor.operations.pool.replicas()
        monkeypatch.setattr(second, "stop", broken)
        assert told_of(await carried_out(supervisor.operations.apply(deploy())), "the retirement")
        await soon(lambda: second.done.is_set(), "its end")
        await soon(lambda: supervisor.operations.pool.settled, "the old generation")
        assert first in supervisor.operations.pool.workers
        assert len(supervisor.operations.pool.replicas()) == 2
