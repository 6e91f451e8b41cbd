"""The simulator against real processes: the same requests, the same load and work times, the same answers.

Stated tolerance: loads within 15 %, mean waits and latencies within 20 %, of requests that come by a timetable; of a
closed loop of clients 25 % and 30 %. There every answer decides when the next request comes, so a race that chance
decides otherwise than in the simulator goes on to matter: real runs differ by a fifth among themselves. For the same
reason the log that is replayed is the timetable's: times that a saturated pool's own answers dictated are not what
another run of it would have met. Where a load took 0.1 s too long, the machine stood still; that run is repeated,
twice at most. What the tolerance keeps out is told by ``tests/simulate/test_simulate_tolerance.py``.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from runtime.simulate.result import Result
from runtime.simulate.run import simulate
from runtime.simulate.shape import Shape, Span
from runtime.simulate.synthetic import Mix, Synthetic
from runtime.simulate.trace import Recorded
from tests.e2e.conftest import Cli
from tests.e2e.deployed import project

pytestmark = pytest.mark.process

REPLICAS, SLOTS, CLIENTS, LOAD_S, WORK_S = 2, 2, 6, 0.2, 0.02
REQUESTS = 240
ASKED = Synthetic(Mix(8, 0.8), count=REQUESTS, rate=20.0, seed=11)
YAML = f"""
deployments:
  - name: Model
    loader: app:load_model
    handler: app:predict
    num_replicas: {REPLICAS}
    max_num_models_per_replica: {SLOTS}
    env: {{LOAD_S: "{LOAD_S}", WORK_S: "{WORK_S}"}}
"""
STALL_S, ATTEMPTS = 0.1, 3
SHAPE = Shape(replicas=REPLICAS, slots=SLOTS, load_s=Span(LOAD_S), work_s=Span(WORK_S))


@dataclass(frozen=True, slots=True)
class Off:
    """How far the simulator may be off, as shares of what real processes did."""

    loads: float
    seconds: float

    def allows(self, told: Result, real: Real) -> bool:
        return (
            abs(told.loads - real.loads) <= self.loads * real.loads
            and abs(told.waits.mean_s - real.wait_s) <= self.seconds * real.wait_s
            and abs(told.latencies.mean_s - real.latency_s) <= self.seconds * real.latency_s
        )


OPEN, CLOSED = Off(0.15, 0.2), Off(0.25, 0.3)


@dataclass(frozen=True, slots=True)
class Real:
    """What came of the requests: loads in all, means in seconds."""

    loads: int
    wait_s: float
    latency_s: float


def ask(url: str, model: str | None) -> float:
    """Send one request; return how long its answer took, in seconds."""
    begun = time.monotonic()
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", "/", headers={"serve_multiplexed_model_id": str(model)})
        with connection.getresponse() as answer:
            assert json.load(answer) == {"model": model}
    return time.monotonic() - begun


def closed_loop(url: str) -> list[float]:
    """Have ``CLIENTS`` clients ask, each again once it is answered; return how long each answer took."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(partial(ask, url), [arrival.model for arrival in ASKED]))


def timetable(url: str) -> list[float]:
    """Ask when the trace says so, whatever is unanswered; return how long each answer took."""
    begun, asked, pause = time.monotonic(), list[Future[float]](), threading.Event()
    with ThreadPoolExecutor(REQUESTS) as threads:
        for arrival in ASKED:
            pause.wait(max(0.0, begun + arrival.at - time.monotonic()))
            asked.append(threads.submit(ask, url, arrival.model))
    return [each.result() for each in asked]


def log_folder(cli: Cli) -> Path:
    found = Path(cli.env["MUX_HOME"]).glob("projects/*/logs")
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)


def logged(cli: Cli) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli.logs("--json").splitlines()]


def undisturbed(records: Sequence[dict[str, Any]]) -> bool:
    """Return whether the machine let every load end when it should: one that stalls says nothing about anybody."""
    return all(record["load_s"] < LOAD_S + STALL_S for record in records if record["event"] == "model.loaded")


def really(folder: Path, make_cli: Callable[[Path], Cli], send: Callable[[str], list[float]]) -> tuple[Real, Path]:
    """Deploy, send every request, take down; return what came of it, and the folder of its logs."""
    for attempt in range(ATTEMPTS):
        cli = make_cli(project("timed", YAML, folder / f"p{attempt}"))
        cli.run("deploy")
        took = send(cli.url())
        cli.run("down")
        records = logged(cli)
        if undisturbed(records):
            break
    waits = [record["queue_ms"] / 1000 for record in records if record["event"] == "request.access"]
    assert len(waits) == len(took) == REQUESTS
    loads = sum(record["event"] == "model.loaded" for record in records)
    return Real(loads, fmean(waits), fmean(took)), log_folder(cli)


def test_requests_by_a_timetable_and_the_log_of_them(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> None:
    real, logs = really(tmp_path, make_cli, timetable)
    drawn = simulate(SHAPE, ASKED, check=True)
    assert OPEN.allows(drawn, real), f"{real}; {told(drawn)}"
    replayed = simulate(SHAPE, Recorded(logs), check=True)
    assert replayed.requests == REQUESTS
    assert OPEN.allows(replayed, real), f"{real}; {told(replayed)}"


def test_clients_that_ask_again_once_they_are_answered(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> None:
    real, _ = really(tmp_path, make_cli, closed_loop)
    drawn = simulate(SHAPE, ASKED, clients=CLIENTS, check=True)
    assert CLOSED.allows(drawn, real), f"{real}; {told(drawn)}"


def told(result: Result) -> Real:
    return Real(result.loads, result.waits.mean_s, result.latencies.mean_s)
