"""The simulator against real processes: the same requests, the same load and work times, the same answers.

Stated tolerance: loads within 25 % (or 6), the mean wait within 30 % (or 15 ms). Real processes share their machine
with whatever else runs there, so chance decides some races otherwise than in the simulator. Where a load took 0.1 s
too long, the machine stood still; that run is repeated, twice at most. What the tolerance keeps out is told by
``tests/simulate/test_simulate_tolerance.py``.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
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
MIX, REQUESTS = Mix(8, 0.8), 240
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
LOADS_OFF, WAITS_OFF = (0.25, 6.0), (0.3, 0.015)
SHAPE = Shape(replicas=REPLICAS, slots=SLOTS, load_s=Span(LOAD_S), work_s=Span(WORK_S))


def closed_loop(url: str, models: Sequence[str]) -> list[float]:
    """Have ``CLIENTS`` clients ask for ``models`` in turn; return how long each answer took, in seconds."""
    left, lock, taken = iter(models), threading.Lock(), list[float]()

    def client() -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        while True:
            with lock:
                model = next(left, None)
            if model is None:
                break
            begun = time.monotonic()
            connection.request("GET", "/", headers={"serve_multiplexed_model_id": model})
            with connection.getresponse() as answer:
                assert json.load(answer) == {"model": model}
            taken.append(time.monotonic() - begun)
        connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == len(models)
    return taken


def log_folder(cli: Cli) -> Path:
    found = Path(cli.env["MUX_HOME"]).glob("projects/*/logs")
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)


def logged(cli: Cli) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli.logs("--json").splitlines()]


def close(simulated: float, real: float, share: float, least: float) -> bool:
    return abs(simulated - real) <= max(least, share * real)


def undisturbed(records: Sequence[dict[str, Any]]) -> bool:
    """Return whether the machine let every load end when it should: one that stalls says nothing about anybody."""
    return all(record["load_s"] < LOAD_S + STALL_S for record in records if record["event"] == "model.loaded")


def run(folder: Path, make_cli: Callable[[Path], Cli], asked: Synthetic) -> tuple[Cli, list[float]]:
    """Deploy, send every request, take down; return how long each answer took."""
    cli = make_cli(project("timed", YAML, folder))
    cli.run("deploy")
    took = closed_loop(cli.url(), [str(arrival.model) for arrival in asked])
    cli.run("down")
    return cli, took


def test_loads_and_waits_are_those_of_real_processes(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> None:
    asked = Synthetic(MIX, count=REQUESTS, rate=1.0, seed=11)
    for attempt in range(ATTEMPTS):
        cli, took = run(tmp_path / f"p{attempt}", make_cli, asked)
        records = logged(cli)
        if undisturbed(records):
            break
    loads = sum(record["event"] == "model.loaded" for record in records)
    waits = [record["queue_ms"] / 1000 for record in records if record["event"] == "request.access"]
    assert len(waits) == REQUESTS
    real = f"real: {loads} loads, mean wait {1000 * sum(waits) / len(waits):.0f} ms"

    closed = simulate(SHAPE, asked, clients=CLIENTS, check=True)
    assert close(closed.loads, loads, *LOADS_OFF), f"{real}; {told(closed)}"
    assert close(closed.waits.mean_s, sum(waits) / len(waits), *WAITS_OFF), f"{real}; {told(closed)}"
    assert close(closed.latencies.mean_s, sum(took) / len(took), *WAITS_OFF), f"{real}; {told(closed)}"

    replayed = simulate(SHAPE, Recorded(log_folder(cli)), check=True)
    assert replayed.requests == REQUESTS
    assert close(replayed.loads, loads, *LOADS_OFF), f"{real}; {told(replayed)}"
    assert close(replayed.waits.mean_s, sum(waits) / len(waits), *WAITS_OFF), f"{real}; {told(replayed)}"


def told(result: Result) -> str:
    return f"simulated: {result.loads} loads, mean wait {1000 * result.waits.mean_s:.0f} ms"
