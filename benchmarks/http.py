"""Throughput and latency of one trivial JSON handler: mux beside nginx → uvicorn and, with ``--ray``, Ray Serve.

``python -m benchmarks.http [--rounds N] [--seconds S] [--ray] [--new-heads]``. All servers run at once and are loaded
in turn, round by round, so that a slow minute of the machine hits all of them, while the others are stopped; medians
and ratios are printed. With ``--new-heads`` every request has a header that no other has, as a tracing client's: mux
reads heads that it has seen before quicker.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from statistics import median

from benchmarks import servers
from benchmarks.wrk import Load, run_wrk

CONNECTIONS = (1, 16, 64)

Seen = dict[tuple[str, int], list[Load]]  # (server, connections) → one load per round


def measure(running: dict[str, servers.Server], rounds: int, seconds: int, new_heads: bool) -> Seen:
    seen: Seen = {}
    for server in running.values():
        run_wrk(server.port, 16, 2)
    for turn in range(rounds):
        for connections in CONNECTIONS:
            for name, server in running.items():
                with servers.awake(server, running.values()):
                    load = run_wrk(server.port, connections, seconds, new_heads=new_heads)
                seen.setdefault((name, connections), []).append(load)
                print(f"round {turn + 1}: {name} at {connections}: {load.requests_per_s:.0f} req/s", flush=True)
    return seen


def report(seen: Seen, names: list[str]) -> None:
    print(
        "\n| server | connections | req/s | × nginx | p50 ms | × nginx | p99 ms | errors |\n|---|---|---|---|---|---|---|---|"
    )
    for connections in CONNECTIONS:
        base = seen[names[0], connections]
        for name in names:
            loads = seen[name, connections]
            rate = median(a.requests_per_s / b.requests_per_s for a, b in zip(loads, base, strict=True))
            p50 = median(a.p50_ms / b.p50_ms for a, b in zip(loads, base, strict=True))
            print(
                f"| {name} | {connections} | {median(x.requests_per_s for x in loads):.0f} | {rate:.2f} "
                f"| {median(x.p50_ms for x in loads):.3f} | {p50:.2f} | {median(x.p99_ms for x in loads):.2f} "
                f"| {sum(x.errors for x in loads)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--ray", action="store_true", help="also Ray Serve, from a virtual environment in .bench/")
    parser.add_argument("--new-heads", action="store_true", help="no request's head is like another's")
    options = parser.parse_args()
    with ExitStack() as stack:
        running = {"nginx → uvicorn": stack.enter_context(servers.nginx()), "mux": stack.enter_context(servers.mux())}
        if options.ray:
            running["Ray Serve"] = stack.enter_context(servers.ray())
        seen = measure(running, options.rounds, options.seconds, options.new_heads)
    report(seen, list(running))
    if options.ray:
        pairs = zip(seen["mux", 64], seen["Ray Serve", 64], strict=True)
        print(
            f"\nmux / Ray Serve at 64 connections: {median(a.requests_per_s / b.requests_per_s for a, b in pairs):.1f}"
        )


if __name__ == "__main__":
    main()
