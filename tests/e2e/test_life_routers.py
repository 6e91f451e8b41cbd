"""Several routers that share one port: they agree, and one of them may die, go or come."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.deployed import until
from tests.e2e.load import Load
from tests.e2e.rough import YAML, Rough, rough

pytestmark = pytest.mark.process

MODELS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough(YAML, http="port: 0, routers: 2") as running:
        yield running


def test_both_routers_answer_and_agree_where_a_model_is(app: Rough) -> None:
    where = {model: app.ask(model=model).headers["x-mux-replica"] for model in MODELS}
    for _ in range(10):
        for model in MODELS:
            assert app.ask(model=model).headers["x-mux-replica"] == where[model]
    assert all(one["requests"] for one in app.cli.status()["routers"])


def test_killing_one_of_two_routers_costs_only_what_it_had_under_way(app: Rough) -> None:
    with Load(app.url, MODELS) as load:
        os.kill(app.pids()["router-1"], signal.SIGKILL)
        until(lambda: [one["restarts"] for one in app.cli.status()["routers"]] == [0, 1], "its return")
        app.all_ready()
        load.more()
    assert set(load.bad) <= {"RemoteDisconnected", "ConnectionResetError"}, load.answers
    assert sum(load.bad.values()) <= 4


def test_a_replica_that_dies_is_noticed_by_both_routers(app: Rough) -> None:
    with Load(app.url, MODELS) as load:
        os.kill(next(iter(app.pids("Rough").values())), signal.SIGKILL)
        load.more(200)
        app.all_ready()
        load.more(200)
    assert load.bad == {}


def test_more_routers_drop_no_request(app: Rough) -> None:
    app.edit("routers: 2", "routers: 3")
    with Load(app.url, MODELS) as load:
        app.cli.run("deploy")
        load.more()
    assert load.bad.keys() <= {"RemoteDisconnected", "ConnectionResetError"}, "kept connections of one that drains"
    assert len(app.cli.status()["routers"]) == 3
    assert app.cli.url() == app.url
