"""Handles between processes: affinity, queues, leases, errors, cancellation, streams and cycles, over real HTTP."""

from __future__ import annotations

import collections
import http.client
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import Cli
from tests.e2e.deployed import deployed, lines, project, until

pytestmark = pytest.mark.process

YAML = """
deployments:
  - {name: Front, import_path: "app:app"}
  - {name: Middle, import_path: "app:app", route_prefix: null}
  - {name: Models, import_path: "app:app", route_prefix: null, num_replicas: 2}
  - {name: Tight, import_path: "app:app", route_prefix: null, max_queued_requests: 1}
  - {name: Echo, import_path: "app:echo_app", route_prefix: null}
  - {name: Early, import_path: "app:early", route_prefix: /early}
"""


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marks") / "marks"
    path.touch()
    return path


@pytest.fixture(scope="module")
def chain(marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKS", str(marks))
        with deployed(project("chain", YAML, tmp_path_factory.mktemp("chain"))) as cli:
            yield cli


def pids_of(cli: Cli, deployment: str) -> set[int]:
    return {each["pid"] for each in cli.status()["replicas"] if each["deployment"] == deployment}


def open_get(cli: Cli, path: str) -> http.client.HTTPConnection:
    """Send a request and do not read its answer."""
    host, _, port = cli.url().removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", path)
    return connection


def test_the_replica_that_holds_the_model_answers(chain: Cli, marks: Path) -> None:
    ids, url = ["a", "b", "c", "d"], chain.url()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda model: requests.get(f"{url}/ask/{model}/7", timeout=30).json(), ids * 25))
    assert [each["model"] for each in answers] == ids * 25
    assert all(each["x"] == 7 for each in answers)
    by_model = collections.defaultdict(set)
    for each in answers:
        by_model[each["model"]].add(each["pid"])
    assert all(len(pids) == 1 for pids in by_model.values()), by_model
    assert set.union(*by_model.values()) == pids_of(chain, "Models")
    loads = collections.Counter(line for line in lines(marks) if line.startswith("load "))
    assert {loads[f"load {model}"] for model in ids} == {1}


def test_a_hop_that_names_no_model_inherits_none(chain: Cli) -> None:
    status, body, _ = chain.ask("mine", path="/unnamed")
    assert (status, body) == (200, {"own": "mine", "downstream": ""})


def test_a_model_that_streams_stays_until_the_stream_has_ended(chain: Cli, marks: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(chain.ask, path="/hold/first/release-first")
        until(lambda: "begin first" in lines(marks), "the first stream")
        second = pool.submit(chain.ask, path="/hold/second/release-second")
        until(lambda: chain.status()["deployments"][3]["queued"] == 1, "a queued call")
        assert not second.done()
        with marks.open("a") as file:
            file.write("release-first\nrelease-second\n")
        assert first.result()[:2] == (200, ["first", "first"])
        assert second.result()[:2] == (200, ["second", "second"])
    order = [line for line in lines(marks) if line.rpartition(" ")[2] in ("first", "second")]
    assert order == ["load first", "begin first", "end first", "del first", "load second", "begin second", "end second"]


def test_a_full_queue_is_an_error_of_the_caller(chain: Cli, marks: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(chain.ask, path="/hold/full/release-full")
        until(lambda: "begin full" in lines(marks), "the call that runs")
        queued = pool.submit(chain.ask, path="/hold/full/release-full")
        until(lambda: chain.status()["deployments"][3]["queued"] == 1, "the call that waits")
        status, body, _ = chain.ask(path="/hold_or_say_full/full/release-full")
        with marks.open("a") as file:
            file.write("release-full\n")
        assert running.result()[0] == queued.result()[0] == 200
    assert status == 200
    assert body["full"] == "queue_full"
    assert body["retry_after_s"] is not None


def test_an_exception_arrives_as_itself_with_the_traceback_of_the_other_process(chain: Cli) -> None:
    status, body, _ = chain.ask(path="/fail/boots")
    assert status == 200, body
    assert (body["article"], body["left"]) == ("boots", 3)
    assert body["where"].startswith("Models#")
    assert "raise OutOfStock(article, 3)" in body["text"]
    assert "runtime/" not in body["text"]


def test_an_exception_that_nobody_catches_is_a_500_with_both_tracebacks_in_the_log(chain: Cli) -> None:
    status, body, headers = chain.ask(path="/fail_uncaught/sandals")
    assert status == 500
    assert "Traceback" not in str(body)
    until(lambda: "The above exception was the direct cause" in chain.logs("Front"), "the log")
    logs = chain.logs("Front", "--grep", headers["x-request-id"])
    assert "raise OutOfStock(article, 3)" in logs  # there
    assert "await self.models.fail.remote(article)" in logs  # here


def test_the_whole_chain_is_cancelled_when_the_client_leaves(chain: Cli, marks: Path) -> None:
    connection = open_get(chain, "/hang/left")
    until(lambda: "hang left" in lines(marks), "the end of the chain")
    connection.close()
    until(lambda: "cancelled left" in lines(marks), "the cancellation")
    until(lambda: not any(each["in_flight"] for each in chain.status()["replicas"]), "every place given back")


def test_a_stream_goes_from_hop_to_hop_and_ends_where_its_reader_leaves(chain: Cli, marks: Path) -> None:
    assert chain.ask(path="/stream/a")[:2] == (200, "a0\na1\na2\n")
    connection = open_get(chain, "/endless/stream")
    answer = connection.getresponse()
    assert answer.read(4) == b"0\n1\n"
    answer.close()
    connection.close()
    until(lambda: "closed stream" in lines(marks), "the end of the generator")


def test_a_deployment_that_would_wait_for_itself_is_refused(chain: Cli) -> None:
    status, body, _ = chain.ask(path="/cycle")
    assert status == 200, body
    assert "Front → Middle → Front" in body["cycle"]


def test_a_constructor_may_call_another_deployment(chain: Cli) -> None:
    assert chain.ask(path="/early")[:2] == (200, 42)


def test_a_response_as_an_argument_arrives_as_its_value(chain: Cli) -> None:
    status, body, _ = chain.ask(path="/piped/a")
    assert (status, body["model"], body["x"]) == (200, "a", 5)


SCRIPT = """
import asyncio
import numpy
from runtime import serve
from runtime.errors import NoSuchThing
from runtime.serve.exceptions import CallCancelled

models = serve.get_deployment_handle("Models")
a = models.options(multiplexed_model_id="a")
print(a.remote(1).result(timeout_s=30)["model"])
print(list(a.options(stream=True).count.remote(3)))
print(list(models.options(stream=True).count_in_a_thread.remote(3)))
print(models.total.remote(numpy.ones((512, 512))).result(timeout_s=30))
try:
    models.fail.remote("hats").result(timeout_s=30)
except Exception as exc:
    print(type(exc).__name__, exc.left, "raise OutOfStock" in str(exc.__cause__))
try:
    serve.get_deployment_handle("Modles")
except NoSuchThing as exc:
    print(exc.message)
try:
    models.hang.remote("late").result(timeout_s=0.2)
except TimeoutError:
    print("late")
held = models.hang.remote("given up")
held.cancel()
try:
    held.result(timeout_s=30)
except CallCancelled:
    print("cancelled")

async def many():
    return sum([(await call)["x"] for call in [a.remote(x) for x in range(20)]])

print(asyncio.run(many()))
print(serve.status().applications["default"].deployments["Models"].replica_states)
"""


def test_a_plain_script_beside_the_project_has_the_same_handles(chain: Cli, marks: Path) -> None:
    (chain.folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=chain.folder, env=chain.env, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[:5] == ["a", "['a0', 'a1', 'a2']", "[0, 1, 2]", "262144.0", "OutOfStock 3 True"]
    assert "no deployment 'Modles'" in said[5]
    assert said[6:9] == ["late", "cancelled", "190"]
    assert said[9] == "{'RUNNING': 2}"
    until(lambda: "cancelled late" in lines(marks), "the end of the call whose caller has gone")
