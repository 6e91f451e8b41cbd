"""Handles and batches, mux beside Ray Serve: ``python -m benchmarks.calls [--rounds N] [--seconds S] [--ray]``.

``--cpu-latency-us 0`` has mux keep idle processors awake, and those of the whole machine: Ray Serve has them too.

| what | how |
|---|---|
| composed call | 16 connections; an ingress calls a multiplexed deployment of two replicas |
| handle call | one empty call after the other between two processes: p50 |
| 10 MB array | one call after the other with a NumPy array of 10 MB as its argument |
| batches | 64 clients, one model and then eight in turn: the average size of a batch of at most 8 |

All servers run at once and are asked in turn, round by round, so that a slow minute of the machine hits all of them,
while the others are stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from statistics import median

import aiohttp

from benchmarks import servers
from benchmarks.wrk import run_wrk

CONNECTIONS = 16
CALLS = 300
ARRAYS = 20
CLIENTS = 64
BATCH_REQUESTS = 1280

Seen = dict[tuple[str, str], list[float]]  # (what, server) → one figure per round


def timed(port: int, what: str, count: int) -> float:
    """Have the ingress make ``count`` calls one after the other; return their median in seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?what={what}&count={count}", timeout=120) as answer:
        return median(json.load(answer)["seconds"])


async def average_batch(port: int, models: int) -> float:
    """Return the average batch size: each answer tells the size of the batch that it was in."""
    numbers, batches = iter(range(BATCH_REQUESTS)), 0.0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal batches
        for number in numbers:
            header = {"serve_multiplexed_model_id": f"m{number % models}"}
            async with session.get(f"http://127.0.0.1:{port}/batched/", headers=header) as answer:
                answer.raise_for_status()
                batches += 1 / (await answer.json())["batch"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return BATCH_REQUESTS / batches


def measure(running: dict[str, servers.Server], rounds: int, seconds: int) -> Seen:
    seen: Seen = defaultdict(list)
    for server in running.values():
        run_wrk(server.port, CONNECTIONS, 2)
        asyncio.run(average_batch(server.port, 8))
    for turn in range(rounds):
        for name, server in running.items():
            with servers.awake(server, running.values()):
                for what, figure in round_of(server.port, seconds).items():
                    seen[what, name].append(figure)
        print(f"round {turn + 1}: " + ", ".join(f"{key[0]} {key[1]} {seen[key][-1]:.1f}" for key in seen), flush=True)
    return seen


def round_of(port: int, seconds: int) -> dict[str, float]:
    """Ask one server for everything once."""
    load = run_wrk(port, CONNECTIONS, seconds)
    if load.errors:
        raise RuntimeError(f"{load.errors} errors on port {port}")
    return {
        "composed": load.requests_per_s,
        "call": timed(port, "empty", CALLS) * 1e6,
        "array": 1 / timed(port, "array", ARRAYS),
        "copy": 1 / timed(port, "copy", ARRAYS),
        "one": asyncio.run(average_batch(port, 1)),
        "eight": asyncio.run(average_batch(port, 8)),
    }


def report(seen: Seen, names: list[str]) -> None:
    def row(what: str, label: str, form: str, better: int) -> None:
        own = seen[what, names[0]]
        cells = [format(median(seen[what, name]), form) for name in names]
        for name in names[1:]:
            pairs = zip(own, seen[what, name], strict=True)
            cells.append(f"{median(a / b if better > 0 else b / a for a, b in pairs):.1f}")
        print(f"| {label} | {' | '.join(cells)} |")

    ratios = [f"{names[0]} / {name}" for name in names[1:]]
    print(f"\n| | {' | '.join([*names, *ratios])} |\n|---|{'---|' * (len(names) + len(ratios))}")
    row("composed", f"composed calls/s at {CONNECTIONS} connections", ".0f", +1)
    row("call", "handle call, p50 µs", ".0f", -1)
    row("array", "10 MB arrays/s", ".0f", +1)
    row("copy", "  (copies of it in one process, /s)", ".0f", +1)
    row("one", "average batch, one model", ".2f", +1)
    row("eight", "average batch, eight models", ".2f", +1)
    shares = {
        name: median(a / b for a, b in zip(seen["eight", name], seen["one", name], strict=True)) for name in names
    }
    print(
        "\neight models' batches against one's: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each composed load")
    parser.add_argument("--cpu-latency-us", default="", metavar="N", help="mux's http.cpu_latency_us")
    parser.add_argument("--ray", action="store_true", help="also Ray Serve, from a virtual environment in .bench/")
    options = parser.parse_args()
    with ExitStack() as stack:
        running = {
            "mux": stack.enter_context(servers.mux(servers.APPS / "calls.yaml", CPU_LATENCY_US=options.cpu_latency_us))
        }
        if options.ray:
            running["Ray Serve"] = stack.enter_context(servers.ray("ray_calls.py"))
        seen = measure(running, options.rounds, options.seconds)
    report(seen, list(running))


if __name__ == "__main__":
    main()
