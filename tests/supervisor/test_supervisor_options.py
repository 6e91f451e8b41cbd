"""What code says of its options, ``@serve.deployment(num_replicas=2)``, holds where the file is silent."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from runtime.supervisor.api import ApplyRequest, Event, RestartRequest, ScaleRequest
from runtime.supervisor.checkup import limits_of
from runtime.supervisor.desired import Desired
from runtime.supervisor.supervisor import Supervisor
from tests.supervisor.conftest import Apply, Running, carried_out, told
from tests.supervisor.waiting import soon

pytestmark = [pytest.mark.process, pytest.mark.anyio]


@pytest.fixture
def by_class(deploy: Apply) -> Apply:
    """Make a deploy request whose code says ``options`` and whose file names only what else is given."""

    def request(options: dict[str, Any], **written: Any) -> ApplyRequest:
        settings = {"replicas": None, "graceful_shutdown_timeout_s": None, **written}
        code = {"loader": None, "import_path": "app:entry", "user_config": {"options": options}}
        return deploy(**code, **settings)

    return request


async def deployed(supervisor: Supervisor, request: ApplyRequest) -> Event:
    done = (await carried_out(supervisor.operations.apply(request)))[-1]
    assert done.kind == "done", done
    return done


async def test_the_codes_number_runs_before_the_deploy_is_done(running: Running, by_class: Apply) -> None:
    async with running() as supervisor:
        done = await deployed(supervisor, by_class({"num_replicas": 3}))
        assert done.status is not None
        assert (done.status.deployments[0].want, done.status.deployments[0].ready) == (3, 3)
        assert not done.status.deployments[0].scaled
        assert [one.message for one in done.status.replicas] == ["", "", ""]


async def test_the_plan_knows_what_the_code_said(running: Running, by_class: Apply) -> None:
    async with running() as supervisor:
        await deployed(supervisor, by_class({"num_replicas": 2}))
        before = {one.id for one in supervisor.operations.pool.replicas()}
        assert (await carried_out(supervisor.operations.apply(by_class({"num_replicas": 2}))))[0].changes == []
        plan, *_, done = await carried_out(supervisor.operations.apply(by_class({"num_replicas": 2}, replicas=1)))
        assert [change["why"] for change in plan.changes] == ["num_replicas 2 (by the code) → 1"]
        assert done.status is not None
        assert done.status.deployments[0].ready == 1
        plan, *_ = await carried_out(supervisor.operations.apply(by_class({"num_replicas": 2})))
        assert [change["why"] for change in plan.changes] == ["num_replicas 1 → 2 (by the code)"]
        assert len(supervisor.operations.pool.replicas()) == 2
        assert before & {one.id for one in supervisor.operations.pool.replicas()}


async def test_a_scale_by_hand_ends_at_the_codes_number(running: Running, by_class: Apply) -> None:
    async with running() as supervisor:
        await deployed(supervisor, by_class({"num_replicas": 2}))
        await carried_out(supervisor.operations.scale(ScaleRequest(replicas={"Model": 3})))
        assert (await supervisor.status()).deployments[0].scaled
        await carried_out(supervisor.operations.scale(ScaleRequest(replicas={"Model": 2})))
        assert not (await supervisor.status()).deployments[0].scaled


async def test_routers_and_health_checks_go_by_the_code(running: Running, by_class: Apply) -> None:
    said = {
        "max_queued_requests": 7, "health_check_period_s": 3.0, "health_check_timeout_s": 4.0,
        "graceful_shutdown_timeout_s": 0.5,
    }  # fmt: skip
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await deployed(supervisor, by_class(said))
        route = (await told(pool.routers()[0], "spec"))["table"]["routes"][0]["deployment"]
        assert route["max_queued_requests"] == 7
        assert not {"user_config", "env", "s3"} & route.keys()
        worker = pool.replicas()[0]
        assert (limits_of(worker).period_s, limits_of(worker).timeout_s) == (3.0, 4.0)
        assert worker.setting("graceful_shutdown_timeout_s") == 0.5
        await deployed(supervisor, by_class(said, max_queued_requests=9, health_check_period_s=1.0))
        route = (await told(pool.routers()[0], "spec"))["table"]["routes"][0]["deployment"]
        assert route["max_queued_requests"] == 9
        assert pool.replicas() == [worker]
        assert limits_of(worker).period_s == 1.0


async def test_new_code_says_anew_and_a_failed_rollout_forgets_it(running: Running, by_class: Apply) -> None:
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await deployed(supervisor, by_class({"num_replicas": 2}))
        grown = by_class({"num_replicas": 3})
        grown.digests["Model"] = {"app.py": "2"}
        await deployed(supervisor, grown)
        assert len(pool.replicas()) == 3
        broken = by_class({"num_replicas": 1})
        broken.digests["Model"] = {"app.py": "3"}
        broken.config["deployments"].append({"name": "Other", "loader": "a:b", "user_config": {"mode": "fail"}})
        failed = (await carried_out(supervisor.operations.apply(broken)))[-1]
        assert failed.code == "could_not_start"
        assert (await supervisor.status()).deployments[0].want == 3
        await carried_out(supervisor.operations.restart(RestartRequest()))
        assert len(pool.replicas()) == 3


async def test_a_changed_health_check_holds_at_once(running: Running, deploy: Apply) -> None:
    async with running() as supervisor:
        await deployed(supervisor, deploy("mute", health_check_period_s=3600))
        worker = supervisor.operations.pool.replicas()[0]
        limits = {"health_check_period_s": 0.01, "health_check_timeout_s": 0.05, "load_timeout_s": 300}
        await deployed(supervisor, deploy("mute", **limits))
        await soon(lambda: worker.suspect, "the suspicion")


async def test_a_replica_that_comes_back_says_the_same(running: Running, by_class: Apply) -> None:
    async with running() as supervisor:
        pool = supervisor.operations.pool
        await deployed(supervisor, by_class({"num_replicas": 2}))
        worker = pool.replicas()[0]
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        await soon(lambda: worker not in pool.workers and pool.settled, "the successor")
        assert len(pool.replicas()) == 2


def test_what_is_written_is_part_of_a_revision_where_code_could_say_it(by_class: Apply, deploy: Apply) -> None:
    silent = Desired.parse(by_class({}), None, 1)
    for request, same in (
        (by_class({}, max_ongoing_requests=5), False),  # with batches it matters that it is said
        (by_class({}, max_queued_requests=-1), True),
        (by_class({}, load="early"), True),
    ):
        other = Desired.parse(request, None, 2)
        assert (other.revisions == silent.revisions) is same
        restarts = any(one.action == "restart" for one in other.changes_from(silent.heed("Model", {})))
        assert restarts is not same
    loader = Desired.parse(deploy(), None, 1)
    assert Desired.parse(deploy(max_ongoing_requests=5), None, 2).revisions == loader.revisions
