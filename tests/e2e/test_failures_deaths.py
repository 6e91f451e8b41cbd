"""Processes that are killed under load: what clients see, and that everything comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployed import lines, until
from tests.e2e.load import Load, asking
from tests.e2e.rough import Rough, ended, rough

pytestmark = pytest.mark.process

LOST_WITH_A_ROUTER = {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"}


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough() as running:
        yield running


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def busy(app: Rough) -> int:
    """Return the pid of the replica that has a request."""
    return next(one["pid"] for one in app.replicas() if one["in_flight"])


def test_nobody_notices_that_a_replica_is_killed(app: Rough) -> None:
    before = app.pids("Rough")
    with Load(app.url) as load:
        kill(next(iter(before.values())))
        until(lambda: len(set(app.pids("Rough").values()) - set(before.values())) == 1, "a new replica")
        app.all_ready()
        load.more()
    assert load.bad == {}
    assert load.slowest_s < 5
    assert sorted(one["restarts"] for one in app.replicas()) == [0, 1]
    assert "was killed by SIGKILL" in app.cli.logs("--level", "warning")


def test_a_request_that_may_have_begun_is_a_502_and_a_safe_one_is_asked_again(app: Rough) -> None:
    with asking(app.url, "/hold?name=unsafe", "a", method="POST") as unsafe:
        app.seen("begin unsafe")
        kill(busy(app))
        assert unsafe.result()[:2] == (502, {
            "error": "replica_died", "message": "the replica died while it may have been working on the request",
            "request_id": unsafe.result().headers["x-request-id"],
        })  # fmt: skip
    app.all_ready()
    with asking(app.url, "/hold?name=safe", "a") as safe:
        app.seen("begin safe")
        kill(busy(app))
        app.seen("begin safe", times=2)
        app.release("safe")
        assert safe.result()[:2] == (200, "safe")
    app.all_ready()


def test_a_request_that_kills_its_replica_is_an_error_for_mux_request(app: Rough) -> None:
    done = app.cli.run("request", "/die", "--model-id", "a", "-X", "POST", code=9)
    assert "502 Bad Gateway: the replica died" in done.stderr
    assert done.stdout == ""
    app.all_ready()


def test_a_model_that_kills_two_replicas_is_refused_and_kills_no_third(app: Rough) -> None:
    app.all_ready()
    first = app.ask(model="deadly-1")
    assert (first.status, first.body["error"]) == (503, "model_load_failed")
    assert "its replica died" in first.body["message"]
    assert int(first.headers["retry-after"]) >= 1
    again = app.ask(model="deadly-1")
    assert (again.status, again.body["error"]) == (503, "model_load_failed")
    assert lines(app.marks).count("load deadly-1") == 2
    app.all_ready()
    assert app.ask(model="a").status == 200


def test_an_exit_in_a_task_of_user_code_is_told_and_costs_others_no_more_than_a_death(app: Rough) -> None:
    with asking(app.url, "/hold?name=beside", "a", method="POST") as beside:
        app.seen("begin beside")
        assert app.ask("/leave", model="a", method="POST").status == 500
        assert beside.result().status == 502
        assert beside.result().body["error"] == "replica_died"
    until(lambda: "exited with code 6" in app.cli.logs("supervisor"), "the supervisor to notice")
    told = app.cli.logs("--level", "error")
    assert "A task of the deployment's code has ended the process." in told
    assert "sys.exit(6)" in told
    app.all_ready()


def test_a_killed_router_keeps_its_address_and_answers_nothing_wrong(app: Rough) -> None:
    before = app.pids("router-0")
    with Load(app.url) as load:
        kill(before["router-0"])
        load.more(200)
    assert set(load.bad) <= LOST_WITH_A_ROUTER, load.answers
    assert sum(load.bad.values()) <= 4, "only what each of the four had under way"
    assert load.slowest_s < 5
    app.all_ready()
    assert app.cli.url() == app.url
    assert app.cli.status()["routers"][0]["restarts"] == 1


def test_a_killed_supervisor_takes_everything_along_and_the_next_deploy_works(app: Rough) -> None:
    pids = app.pids()
    with Load(app.url) as load:
        kill(pids["supervisor"])
        until(lambda: ended(pids), "the end of all children")
    assert set(load.bad) <= {*LOST_WITH_A_ROUTER, "ConnectionRefusedError"}
    for command in ("status", "models", "restart", "wait", "request"):
        assert "is not running.\nhint: Start it with `mux deploy`." in app.cli.run(command, code=5).stderr
    assert "was killed" not in app.cli.logs("-n", "5")
    app.cli.run("deploy")
    app.url = app.cli.url()
    assert app.ask(model="a").status == 200


def test_children_that_outlive_their_supervisor_are_swept_by_the_next(app: Rough) -> None:
    pids = app.pids()
    children = {name: pid for name, pid in pids.items() if name != "supervisor"}
    for pid in children.values():
        os.kill(pid, signal.SIGSTOP)  # they cannot notice
    kill(pids["supervisor"])
    until(lambda: ended({"supervisor": pids["supervisor"]}), "its end")
    assert not ended(children)
    app.cli.run("deploy")
    assert ended(children)
    app.url = app.cli.url()
    assert "was left behind by a supervisor that died; it was killed." in app.cli.logs("supervisor")


def test_a_stale_state_folder_with_reused_pids_harms_nobody(app: Rough) -> None:
    pids = app.pids()
    kill(pids["supervisor"])
    until(lambda: ended(pids), "the end of all children")
    root = next(Path(app.cli.env["MUX_HOME"]).glob("projects/*"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        for name in ("supervisor.json", "children.json"):
            record = json.loads((root / name).read_text())
            for one in record if isinstance(record, list) else [record]:
                one["pid"] = other.pid
                one["create_time"] -= 60  # no pid comes round within seconds of its last use
            (root / name).write_text(json.dumps(record))
        app.cli.run("status", code=5)
        assert "is not running" in app.cli.run("down").stderr
        app.cli.run("deploy")
        app.url = app.cli.url()
        assert app.ask(model="a").status == 200
        assert other.poll() is None
        assert other.stdin is not None
        other.stdin.write(b"\n")
