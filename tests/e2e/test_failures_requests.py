"""Requests at the limits: too slow, too large, too many, too long, given up; and ids made up by the thousand."""

from __future__ import annotations

import collections
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
import requests

from tests.e2e.deployed import until
from tests.e2e.load import answer_of, asking, host_of
from tests.e2e.rough import Rough, rough

pytestmark = pytest.mark.process

MIB = 2**20
YAML = """
deployments:
  - {name: Rough, loader: "app:load_model", handler: "app:predict", num_replicas: 2}
  - {name: Tight, loader: "app:load_model", handler: "app:predict", route_prefix: /tight,
     max_ongoing_requests: 1, max_queued_requests: 1}
  - {name: Files, loader: "app:load_file", handler: "app:predict", route_prefix: /files,
     source: "./models/{model_id}.txt", max_num_models_per_replica: 2}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rough]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "models").mkdir()
    for name in ("a", "b"):
        (folder / "models" / f"{name}.txt").write_text(f"weights of {name}")
    with rough(YAML, folder, http=f"port: 0, max_body_bytes: {101 * MIB}") as running:
        yield running


@contextmanager
def flat_memory(pids: dict[str, int], within_bytes: int) -> Iterator[None]:
    """Fail if any of the processes grows by more than that, even for a moment."""
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    before = {name: one.memory_info().rss for name, one in processes.items()}
    most, ended = dict(before), threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            for name, one in processes.items():
                most[name] = max(most[name], one.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    grown = {name: most[name] - before[name] for name in before}
    assert max(grown.values()) < within_bytes, {name: f"{size / MIB:.0f} MiB" for name, size in grown.items()}


def connected(app: Rough) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(host_of(app.url), timeout=30)


def test_100_mb_down_and_up_take_no_memory(app: Rough) -> None:
    app.ask(model="a")
    with flat_memory(app.pids(), 16 * MIB):
        connection = connected(app)
        connection.request("GET", "/pour?mib=100", headers={"serve_multiplexed_model_id": "a"})
        response, received = connection.getresponse(), 0
        while data := response.read(MIB):
            received += len(data)
        assert received == 100 * MIB
        for head in ({"content-length": str(100 * MIB)}, {"transfer-encoding": "chunked"}):
            connection.request(
                "POST", "/swallow", body=(b"x" * 65536 for _ in range(1600)), headers=head,
                encode_chunked="transfer-encoding" in head,
            )  # fmt: skip
            assert answer_of(connection.getresponse())[:2] == (200, 100 * MIB)
        connection.close()


def test_a_reader_who_stalls_holds_up_only_itself(app: Rough) -> None:
    app.ask(model="a")
    with flat_memory(app.pids(), 16 * MIB):
        connection = connected(app)
        connection.request("GET", "/pour?mib=1000", headers={"serve_multiplexed_model_id": "a"})
        response = connection.getresponse()
        response.read(1)
        for _ in range(20):
            assert app.ask(model="a").status == 200
        assert [one["in_flight"] for one in app.replicas() if "a" in one["models"]] == [1]
        response.close()
        connection.close()
    until(lambda: not any(one["in_flight"] for one in app.replicas()), "the end of what nobody reads")


def test_too_slow_is_a_408_and_the_handler_is_cancelled(app: Rough) -> None:
    answer = app.ask("/hold?name=slow", "a", x_request_timeout_seconds="0.2")
    assert (answer.status, answer.body["error"]) == (408, "request_timeout")
    app.seen("cancelled slow")
    done = app.cli.run("request", "/hold?name=slower", "--model-id", "a", "--timeout", "0.2", code=9)
    assert "408 Request Timeout" in done.stderr


def test_too_large_is_a_413_before_or_while_it_comes(app: Rough) -> None:
    connection = connected(app)
    connection.putrequest("POST", "/swallow")
    connection.putheader("content-length", str(102 * MIB))
    connection.endheaders()
    answer = answer_of(connection.getresponse())
    connection.close()
    assert (answer.status, answer.body["error"]) == (413, "body_too_large")
    connection.request("POST", "/swallow", body=(b"x" * 65536 for _ in range(1640)), encode_chunked=True, headers={
        "transfer-encoding": "chunked",
    })  # fmt: skip
    answer = answer_of(connection.getresponse())
    connection.close()
    assert (answer.status, answer.body["error"]) == (413, "body_too_large")


def test_a_full_queue_is_a_503_that_says_when_to_come_back(app: Rough) -> None:
    with asking(app.url, "/tight/hold?name=first", "a") as first:
        app.seen("begin first")
        with asking(app.url, "/tight/hold?name=second", "a") as second:
            until(lambda: app.cli.status()["deployments"][1]["queued"] == 1, "a queued request")
            answer = app.ask("/tight", "a")
            assert (answer.status, answer.body["error"]) == (503, "queue_full")
            assert int(answer.headers["retry-after"]) >= 1
            assert "Try again in " in app.cli.run("request", "/tight", "--model-id", "a", code=9).stderr
            app.release("first", "second")
            assert second.result().body == "second"
        assert first.result().body == "first"


def test_a_client_that_leaves_cancels_its_handler(app: Rough) -> None:
    host, _, port = host_of(app.url).partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /hold?name=left HTTP/1.1\r\nhost: x\r\n\r\n")
        app.seen("begin left")
    app.seen("cancelled left")


@pytest.mark.parametrize("header", ["serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id"])
def test_both_forms_of_the_header_name_the_model(app: Rough, header: str) -> None:
    with requests.post(app.url, json={"inputs": [1]}, headers={header: "a"}, timeout=10) as answer:
        assert answer.json()["model"] == "a"
        assert answer.headers["x-mux-replica"].startswith("Rough#")


def test_without_the_header_any_replica_answers(app: Rough) -> None:
    with requests.get(app.url, timeout=10) as answer:
        assert answer.json()["model"] is None


def test_ids_made_up_by_the_thousand_cost_no_slot_and_no_memory(app: Rough) -> None:
    for model in ("a", "b"):
        assert app.ask("/files", model).status == 200
    before = resident(app)
    assert {model for _, model in before} == {"a", "b"}
    answers = collections.Counter[int]()
    many(app, range(500), answers)
    with flat_memory(app.pids(), 12 * MIB):
        many(app, range(500, 2500), answers)
    assert answers == {404: 2500}
    assert resident(app) == before
    for model in ("a", "b"):
        assert app.ask("/files", model).headers["x-mux-cache"] == "hit"


def resident(app: Rough) -> set[tuple[str, str]]:
    """Return (replica, model) of the deployment Files."""
    found = json.loads(app.cli.run("models", "--json").stdout)["models"]
    return {(one["replica"], one["model"]) for one in found if one["deployment"] == "Files"}


def many(app: Rough, numbers: range, answers: collections.Counter[int]) -> None:
    """Ask for made-up models, from four connections."""

    def ask_for(mine: range) -> list[int]:
        connection, statuses = connected(app), []
        for number in mine:
            connection.request("GET", "/files", headers={"serve_multiplexed_model_id": f"made-up-{number}"})
            statuses.append(answer_of(connection.getresponse()).status)
        connection.close()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        for statuses in pool.map(ask_for, [numbers[part::4] for part in range(4)]):
            answers.update(statuses)
