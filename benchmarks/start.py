"""How long a person waits, and what it costs to stand by: ``python -m benchmarks.start [--runs N]``.

Deploy of ``examples/hello`` from nothing to its first answered request, ``mux --help`` beside a bare interpreter, and
the proportional memory (PSS) of supervisor, router and two replicas together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from benchmarks.wrk import HERE, free_ports

HELLO = HERE.parent / "examples" / "hello"
MUX = str(Path(sys.executable).with_name("mux"))


def seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def deploy_once() -> tuple[float, float, float]:
    """Return seconds until deploy returned, seconds until the first answer, and MiB of PSS of all processes."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="mux-bench-") as home:
        env = {**os.environ, "MUX_HOME": home, "PORT": str(port)}
        started = time.perf_counter()
        subprocess.run([MUX, "deploy", "mux.yaml"], cwd=HELLO, env=env, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        deployed = time.perf_counter() - started
        import urllib.request

        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"serve-multiplexed-model-id": "en"})
            with urllib.request.urlopen(request) as answer:
                assert json.load(answer)["greeting"] == "Hello, world!"
            answered = time.perf_counter() - started
            wait_until_it_answers_all(port)
            memory = pss_mib(env)
        finally:
            subprocess.run([MUX, "down"], cwd=HELLO, env=env, check=True, capture_output=True)
    return deployed, answered, memory


def wait_until_it_answers_all(port: int) -> None:
    """Touch both replicas, so that the memory measured is that of processes at work."""
    import urllib.request

    for language in ("en", "de", "fr", "es"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"serve-multiplexed-model-id": language})
        with urllib.request.urlopen(request) as answer:
            answer.read()


def pss_mib(env: dict[str, str]) -> float:
    """Sum the proportional set sizes of the project's processes."""
    status = json.loads(
        subprocess.run([MUX, "status", "--json"], cwd=HELLO, env=env, check=True, capture_output=True).stdout
    )
    pids = [status["pid"], *(each["pid"] for each in status["routers"] + status["replicas"])]
    assert len(pids) == 4, status
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    python = [seconds(sys.executable, "-c", "pass") for _ in range(runs)]
    help_ = [seconds(MUX, "--help") for _ in range(runs)]
    deploys = [deploy_once() for _ in range(runs)]
    print("| what | median | min | max |\n|---|---|---|---|")
    rows = {
        "python -c pass (ms)": [1000 * x for x in python],
        "mux --help (ms)": [1000 * x for x in help_],
        "mux deploy of hello returned (s)": [x[0] for x in deploys],
        "first answer after mux deploy began (s)": [x[1] for x in deploys],
        "PSS of supervisor, router, 2 replicas (MiB)": [x[2] for x in deploys],
    }
    for what, values in rows.items():
        print(f"| {what} | {median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
