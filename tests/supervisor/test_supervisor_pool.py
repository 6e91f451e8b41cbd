"""The supervisor inside the test's loop, with real, fake children."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import MuxError, NoSuchThing
from runtime.project import Project
from runtime.supervisor import operations
from runtime.supervisor.api import (
    DownRequest,
    Event,
    ModelRequest,
    RestartRequest,
    ScaleRequest,
    WaitRequest,
)
from runtime.supervisor.models import Models
from runtime.supervisor.supervisor import Supervisor, sole
from runtime.supervisor.worker import Worker
from tests.supervisor.conftest import Apply, Running, carried_out, told
from tests.supervisor.fake_supervisor import make
from tests.supervisor.waiting import await_end, soon

pytestmark = [pytest.mark.process, pytest.mark.anyio]


async def replica(supervisor: Supervisor, index: int = 0) -> Worker:
    ready = [one for one in supervisor.operations.pool.replicas() if one.phase == "ready"]
    return next(one for one in ready if one.slot.index == index)


async def test_an_unchanged_deploy_touches_nothing(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        first = await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        ids = [one.id for one in supervisor.operations.pool.workers]
        again = await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        assert [change["what"] for change in first[0].changes] == ["router", "Model"]
        assert [one.kind for one in again] == ["plan", "done"]
        assert again[0].changes == []
        assert [one.id for one in supervisor.operations.pool.workers] == ids
        assert again[-1].status is not None
        assert again[-1].status.generation == 1


async def test_a_dry_run_only_tells(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        ids = [one.id for one in supervisor.operations.pool.workers]
        request = deploy(max_ongoing_requests=9)
        request.dry_run = True
        plan, done = await carried_out(supervisor.operations.apply(request))
        assert plan.changes[0]["why"] == "max_ongoing_requests 5 → 9"
        assert done.kind == "done"
        assert [one.id for one in supervisor.operations.pool.workers] == ids


async def test_a_latency_that_this_user_may_not_set_is_refused(
    running: Running, deploy: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "refusal", lambda limit_us: f"{limit_us} is refused.")
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        http = {"port": 0, "cpu_latency_us": 0}
        plan, failed = await carried_out(supervisor.operations.apply(deploy(http=http)))
        assert plan.changes[0]["what"] == "router"
        assert (failed.kind, failed.message) == ("failed", "http.cpu_latency_us cannot be had: 0 is refused.")
        assert "udev" in failed.hint
        again = await carried_out(supervisor.operations.apply(deploy()))
        assert [one.kind for one in again] == ["plan", "done"]


async def test_a_replica_that_dies_is_replaced_under_a_new_id(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        old = await replica(supervisor)
        assert old.process is not None
        with supervisor.operations.journal.follow() as follower:
            os.kill(old.process.pid, signal.SIGKILL)
            seen = [event async for event in _first(follower, "ready")]
        assert any("was killed by SIGKILL" in event.message for event in seen)
        assert any(event.kind == "restart" for event in seen)
        new = await replica(supervisor)
        assert (new.slot, new.restarts) == (old.slot, 1)
        assert new.id != old.id


async def _first(follower: AsyncIterator[Event] | Any, kind: str) -> AsyncIterator[Event]:
    async for event in follower:
        yield event
        if event.kind == kind:
            return


async def _message(follower: AsyncIterator[Event] | Any, end: str) -> None:
    async for event in follower:
        if event.message.endswith(end):
            return


async def _listed_as(router: Worker, state: str) -> None:
    while (await told(router, "spec"))["table"]["replicas"][0]["state"] != state:
        pass  # the answer crosses a socket each time


async def test_a_child_that_dies_starting_is_given_up_and_told(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        events = await carried_out(supervisor.operations.apply(deploy("crash")))
        assert events[-1].code == "could_not_start"
        assert "exited with code 11" in events[-1].message
        assert "boom: a native library went wrong" in events[-1].traceback
        assert sum(event.kind == "restart" for event in events) == 2
        assert supervisor.operations.pool.workers == []


async def test_a_slot_that_once_worked_is_tried_until_it_works_again(
    running: Running, deploy: Apply, short_dir: Path
) -> None:
    broken = short_dir / "broken"
    async with running() as supervisor:
        pool = supervisor.operations.pool
        request = deploy(user_config={"broken_by": str(broken)})
        await carried_out(supervisor.operations.apply(request))
        broken.touch()
        with supervisor.operations.journal.follow() as follower:
            os.kill((await replica(supervisor)).process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            failures = 0
            async for event in follower:
                failures += "could not start" in event.message
                if failures == 7:
                    break
            assert not pool.failures
            answer = (await carried_out(supervisor.operations.apply(request)))[-1]
            assert (answer.kind, answer.code) == ("failed", "could_not_start")
            assert "Generation 1 goes on serving" in answer.message
            assert "ModuleNotFoundError" in answer.traceback
            broken.unlink()
            async for event in follower:
                if event.kind == "ready":
                    break
        assert pool.settled


async def test_a_failed_rollout_keeps_the_old_generation(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        before = [one.id for one in supervisor.operations.pool.replicas()]
        events = await carried_out(supervisor.operations.apply(deploy("fail", replicas=2, max_ongoing_requests=7)))
        assert events[-1].code == "could_not_start"
        assert events[-1].message.endswith("Generation 1 goes on serving.")
        assert "torhc" in events[-1].traceback
        assert sorted(one.id for one in supervisor.operations.pool.replicas()) == sorted(before)
        status = await supervisor.status()
        assert status.state == "ready"
        assert status.generation == 1
        assert "torhc" in status.deployments[0].message
        assert (await carried_out(supervisor.operations.apply(deploy(replicas=2))))[-1].kind == "done"
        assert (await supervisor.status()).deployments[0].message == ""


async def test_a_deployment_that_goes_serves_until_what_comes_is_ready(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        old = [one.name for one in pool.replicas()]
        router = pool.routers()[0]
        assert (await carried_out(supervisor.operations.apply(deploy("hang", name="New", wait=False))))[
            -1
        ].kind == "done"
        await soon(lambda: bool(pool.replicas("New")))
        assert [one.name for one in pool.replicas("Model") if one.phase == "ready"] == old
        routes = (await told(router, "spec"))["table"]["routes"]
        assert [(one["name"], one["route_prefix"]) for one in routes] == [("New", None), ("Model", "/")]
        events = await carried_out(supervisor.operations.apply(deploy(name="New", env={"A": "1"})))
        said = [event.message for event in events if event.kind in ("ready", "stop")]
        ready = next(number for number, message in enumerate(said) if message.startswith("New#"))
        assert min(said.index(f"{name} is draining") for name in old) > ready
        assert [one.slot.deployment for one in pool.replicas()] == ["New"]
        routes = (await told(router, "spec"))["table"]["routes"]
        assert [(one["name"], one["route_prefix"]) for one in routes] == [("New", "/")]


async def test_a_deployment_that_goes_stays_if_what_comes_cannot_start(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        old = [one.id for one in pool.replicas()]
        events = await carried_out(supervisor.operations.apply(deploy("fail", name="New")))
        assert events[-1].message.endswith("Generation 1 goes on serving.")
        await soon(lambda: pool.settled)
        assert [one.id for one in pool.replicas()] == old
        routes = (await told(pool.routers()[0], "spec"))["table"]["routes"]
        assert [(one["name"], one["route_prefix"]) for one in routes] == [("Model", "/")]


async def test_without_surge_a_deployment_makes_room_for_what_comes(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await carried_out(supervisor.operations.apply(deploy(max_surge=0)))
        await carried_out(supervisor.operations.apply(deploy("hang", name="New", wait=False)))
        await soon(lambda: not pool.replicas("Model"))
        assert [one.slot.deployment for one in pool.replicas()] == ["New"]


async def test_without_surge_a_failed_rollout_starts_the_old_ones_again(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(max_surge=0)))
        request = deploy("fail", max_surge=0, max_ongoing_requests=7)
        events = await carried_out(supervisor.operations.apply(request))
        assert events[-1].code == "could_not_start"
        status = await supervisor.status()
        assert [(one.state, one.message) for one in status.replicas] == [("ready", "")]


async def test_a_restart_replaces_each_replica_and_preloads_its_models(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        models = Models(supervisor.operations.pool)
        await models.change("pin", ModelRequest(models=["3", "4"]))
        before = {one.id for one in supervisor.operations.pool.replicas()}
        events = await carried_out(supervisor.operations.restart(RestartRequest()))
        assert events[-1].kind == "done"
        assert not before & {one.id for one in supervisor.operations.pool.replicas()}
        kinds = [event.kind for event in events if event.kind in ("ready", "stopped")]
        assert kinds == ["ready", "stopped", "ready", "stopped"]
        new = await replica(supervisor)
        assert (await told(new, "spec"))["preload"] == ["3", "4"]


async def test_routers_know_every_replica_before_it_is_ready(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        router = supervisor.operations.pool.routers()[0]
        table = (await told(router, "spec"))["table"]
        replicas = supervisor.operations.pool.replicas()
        assert {one["id"] for one in table["replicas"]} == {one.name for one in replicas}
        assert {one["address"] for one in table["replicas"]} == {one.spec.address for one in replicas}
        assert table["routes"][0]["route_prefix"] == "/"
        assert router.table == supervisor.operations.pool.tables.generation


async def test_a_new_user_config_needs_no_restart(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        before = await replica(supervisor)
        events = await carried_out(supervisor.operations.apply(deploy(user_config={"mode": "ready", "threshold": 3})))
        assert events[-1].kind == "done"
        assert (await replica(supervisor)).id == before.id
        assert (await told(before, "config"))["user_config"]["threshold"] == 3


async def test_a_refused_user_config_is_taken_back(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        before = await replica(supervisor)
        events = await carried_out(supervisor.operations.apply(deploy("refuse")))
        assert events[-1].code == "could_not_start"
        assert "threshold must be positive" in events[-1].message
        assert events[-1].traceback.startswith('File "app.py", line 9')
        assert (await told(before, "config"))["user_config"] == {"mode": "ready"}
        status = await supervisor.status()
        assert status.generation == 1
        assert "ValueError: threshold" in status.deployments[0].traceback
        assert (await carried_out(supervisor.operations.apply(deploy())))[-1].kind == "done"


async def test_the_environment_is_the_deploying_shells(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        request = deploy(env={"STAGE": "test"})
        request.env["FROM_SHELL"] = "yes"
        await carried_out(supervisor.operations.apply(request))
        environment = (await told(await replica(supervisor), "config"))["env"]
        assert (environment["STAGE"], environment["FROM_SHELL"]) == ("test", "yes")


async def test_scaling_by_hand_lasts_until_the_next_deploy(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        kept = await replica(supervisor)
        await carried_out(supervisor.operations.scale(ScaleRequest(replicas={"Model": 3})))
        status = await supervisor.status()
        assert (status.deployments[0].ready, status.deployments[0].scaled) == (3, True)
        assert kept in supervisor.operations.pool.workers
        plan, *_, done = await carried_out(supervisor.operations.apply(deploy()))
        assert plan.changes[0]["why"] == "num_replicas 3 (scaled by hand) → 1"
        assert done.status is not None
        assert (done.status.deployments[0].ready, done.status.deployments[0].scaled) == (1, False)
        failed = await carried_out(supervisor.operations.scale(ScaleRequest(replicas={"Other": 1})))
        assert failed[-1].code == "not_found"
        failed = await carried_out(supervisor.operations.scale(ScaleRequest(replicas={"Model": 0})))
        assert failed[-1].code == "bad_request"


async def test_a_deploy_that_is_not_ready_in_time_goes_on_and_gives_way_to_the_next(
    running: Running, deploy: Apply
) -> None:
    async with running() as supervisor:
        late = await carried_out(supervisor.operations.apply(deploy("hang", timeout_s=0.3)))
        assert late[-1].code == "not_ready"
        assert (await supervisor.status()).state == "starting"
        done = await carried_out(supervisor.operations.apply(deploy(max_ongoing_requests=6)))
        assert done[-1].kind == "done"


async def test_commands_take_turns_and_one_that_leaves_makes_room(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        operations = supervisor.operations
        first = asyncio.create_task(carried_out(operations.apply(deploy("hang"))))
        await soon(lambda: any(one.alive for one in operations.pool.replicas()), "the first deploy's start")
        second = asyncio.create_task(carried_out(operations.apply(deploy(max_ongoing_requests=6))))
        await soon(lambda: operations.waiting == 1, "the second deploy's wait")
        assert not second.done()
        first.cancel()
        assert (await second)[-1].kind == "done"


async def test_wait_ends_when_a_background_deploy_is_ready(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        begun = await carried_out(supervisor.operations.apply(deploy(replicas=2, wait=False)))
        assert begun[-1].message == "It goes on in the background."
        events = await carried_out(supervisor.operations.wait(WaitRequest()))
        assert events[-1].kind == "done"
        assert events[-1].status is not None
        assert events[-1].status.state == "ready"


async def test_a_background_deploy_that_fails_ends_the_supervisor(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy("fail", wait=False)))
        events = await carried_out(supervisor.operations.wait(WaitRequest()))
        assert events[-1].code == "could_not_start"
        await supervisor.operations.finished.wait()


async def test_a_sick_replica_is_replaced(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy("sick", health_check_period_s=0.05)))
        with supervisor.operations.journal.follow() as follower:
            seen = [event async for event in _first(follower, "ready")]
        assert any("failed its health check 3 times: not well" in event.message for event in seen)


async def test_a_mute_replica_is_suspect_first_and_then_replaced(running: Running, deploy: Apply) -> None:
    limits = {"health_check_period_s": 0.05, "health_check_timeout_s": 0.1, "load_timeout_s": 0.3}
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy("mute", **limits)))
        with supervisor.operations.journal.follow() as follower:
            seen = [event.message async for event in _first(follower, "ready")]
        suspected = next(i for i, message in enumerate(seen) if message.endswith("does not answer"))
        replaced = next(i for i, message in enumerate(seen) if "did not answer for" in message)
        assert suspected < replaced


async def test_routers_are_told_of_a_suspect_and_of_its_first_answer(
    running: Running, deploy: Apply, short_dir: Path
) -> None:
    muted = short_dir / "muted"
    limits = {"health_check_period_s": 0.05, "health_check_timeout_s": 0.1, "load_timeout_s": 60}
    async with running() as supervisor:
        request = deploy(user_config={"muted_by": str(muted)}, **limits)
        await carried_out(supervisor.operations.apply(request))
        router = supervisor.operations.pool.routers()[0]
        with supervisor.operations.journal.follow() as follower:
            muted.touch()
            await _message(follower, "does not answer")
            await _listed_as(router, "suspect")
            muted.unlink()
            pid = (await replica(supervisor)).process.pid  # type: ignore[union-attr]
            os.kill(pid, signal.SIGUSR1)
            await _message(follower, "answers again")
            await _listed_as(router, "up")


async def test_a_replica_that_cannot_go_on_is_replaced(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        with supervisor.operations.journal.follow() as follower:
            await carried_out(supervisor.operations.apply(deploy("fault", wait=False)))
            seen = [event.message async for event in _first(follower, "restart")]
        assert any("cannot go on: every slot is abandoned" in message for message in seen)


async def test_what_was_pinned_by_hand_is_pinned_in_a_new_replica(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        models = Models(supervisor.operations.pool)
        await models.change("pin", ModelRequest(models=["8"]))
        old = await replica(supervisor)
        assert old.process is not None
        with supervisor.operations.journal.follow() as follower:
            os.kill(old.process.pid, signal.SIGKILL)
            assert [event async for event in _first(follower, "ready")]
        new = await replica(supervisor)

        async def pinned() -> bool:
            return "8" in (await told(new, "status"))["models"]

        async with asyncio.timeout(5):
            while not await pinned():
                continue


async def test_down_kills_what_does_not_drain_in_time(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy("stubborn", graceful_shutdown_timeout_s=60)))
        stubborn = await replica(supervisor)
        assert stubborn.process is not None
        events = await carried_out(supervisor.operations.down(DownRequest(timeout_s=0.2)))
        assert events[-1].kind == "done"
        await_end(stubborn.process.pid)


async def test_models_are_merged_and_verbs_relayed(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy(replicas=2)))
        models = Models(supervisor.operations.pool)
        assert len((await models.change("pin", ModelRequest(models=["9"]))).models) == 2
        first, second = (await models.resident("Model")).models
        assert {first.replica, second.replica} == {o.name for o in supervisor.operations.pool.replicas()}
        assert (first.waiting, second.waiting) == (2, 0)  # the router's, beside its first holder
        loaded = await models.change("load", ModelRequest(models=["5"]))
        assert [one.model for one in loaded.models] == ["5"]  # one answer: a router's
        with pytest.raises(NoSuchThing, match="'77' is not resident"):
            await models.change("unload", ModelRequest(models=["77"], replica=first.replica))
        with pytest.raises(NoSuchThing, match="no ready replica 'x'"):
            await models.change("unload", ModelRequest(models=["9"], replica="x"))
        with pytest.raises(NoSuchThing, match="no deployment 'Other'"):
            await models.resident("Other")
        with pytest.raises(MuxError, match="Name the models"):
            await models.change("pin", ModelRequest(models=[]))


async def test_a_pin_that_one_replica_cannot_take_is_taken_back(
    running: Running, deploy: Apply, tmp_path: Path
) -> None:
    async with running() as supervisor:
        config = {"torn_in": str(tmp_path / "torn-in")}
        await carried_out(supervisor.operations.apply(deploy(replicas=2, user_config=config)))
        pool = supervisor.operations.pool
        models = Models(pool)
        await models.change("pin", ModelRequest(models=["8"]))
        (tmp_path / "torn-in").write_text(pool.replicas()[1].name)
        with pytest.raises(MuxError, match="'torn' failed to load"):
            await models.change("pin", ModelRequest(models=["8", "9", "torn"]))
        pinned = {(one.replica, one.model) for one in (await models.resident("Model")).models if one.pinned}
        assert pinned == {(one.name, "8") for one in pool.replicas()}
        assert list(pool.live.pins["Model"]) == ["8"]


async def test_explain_puts_the_stories_in_order(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        models = Models(supervisor.operations.pool)
        story = await models.explain(model="3")
        assert story.lines == ["router saw model 3", "replica saw model 3"]
        with pytest.raises(NoSuchThing, match="Nothing is remembered of request 'abc'") as caught:
            await models.explain(request_id="abc")
        assert "mux explain --model abc" in caught.value.hint
        with pytest.raises(NoSuchThing, match="Nothing is remembered of model '7'"):
            await models.explain(model="7")


async def test_moving_the_port_replaces_the_routers_without_a_gap(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await carried_out(supervisor.operations.apply(deploy()))
        before = (await supervisor.status()).url
        kept = await replica(supervisor)
        http = {"port": 0, "host": "127.0.0.2", "max_body_bytes": 1000}
        events = await carried_out(supervisor.operations.apply(deploy(http=http)))
        routers = [event.kind for event in events if event.process == "router-0"]
        assert routers == ["start", "ready", "stop", "stopped"]
        after = (await supervisor.status()).url
        assert after.startswith("http://127.0.0.2:")
        assert after != before
        assert (await replica(supervisor)).id == kept.id


async def test_of_fewer_routers_none_leaves_connections_waiting(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        two, one = ({"port": 0, "routers": count} for count in (2, 1))
        events = await carried_out(supervisor.operations.apply(deploy(http=two)))
        assert events[-1].status is not None
        port = int(events[-1].status.url.rpartition(":")[2])
        leaving = next(router for router in supervisor.operations.pool.routers() if router.slot.index == 1)
        await carried_out(supervisor.operations.apply(deploy("hang", http=one, wait=False)))
        await leaving.done.wait()
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(5):
                assert await reader.read()
            writer.close()


async def test_what_a_dead_supervisor_left_is_cleared(running: Running, project: Project, deploy: Apply) -> None:
    (project.sockets / "calls-0.sock").write_text("")
    (project.specs / "Model-abcdef.json").write_text("{}")
    project.children_file.write_text("not json")
    project.desired_file.write_text('{"generation": "x"}')
    async with running() as supervisor:
        assert (await carried_out(supervisor.operations.apply(deploy())))[-1].kind == "done"
        assert not (project.specs / "Model-abcdef.json").exists()


async def test_a_supervisor_that_is_given_nothing_ends(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.supervisor.supervisor.UPKEEP_PERIOD_S", 0.01)
    monkeypatch.setattr("runtime.supervisor.supervisor.IDLE_TIMEOUT_S", 0.1)
    supervisor, states = make(project), []

    async def ask() -> None:
        states.append((await supervisor.status()).state)

    asked: list[asyncio.Task[None]] = []
    with sole(project):
        async with asyncio.timeout(10):
            await supervisor.run(lambda: asked.append(asyncio.create_task(ask())))
    assert states == ["starting"]
    assert not project.control_socket.exists()
