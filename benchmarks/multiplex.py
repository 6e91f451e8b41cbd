"""Multiplexing under load, closed loop over real HTTP: ``python -m benchmarks.multiplex [--ray] [--seeds N]``.

| scenario | pool | models | clients | load | work | requests |
|---|---|---|---|---|---|---|
| zipf | 4 replicas × 4 slots | 64, Zipf 1.0 | 16 | 0.1 s | 5 ms | 3,000 |
| thrash | 2 × 2 | 8, uniform | 32 | 0.2 s | 5 ms | 600 |
| hot | 2 × 2, 4 places each | 1 | 32 | 0.1 s | 50 ms | 1,500 |
| fire | 2 × 4 | 1 warm at 50/s, cold ones without pause | 2 | 0.2 s | 5 ms | 10 s |
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.traffic import Seen, closed_loop, steady, zipf_ids


@dataclass(frozen=True)
class Scenario:
    name: str
    replicas: int
    slots: int
    models: int
    exponent: float
    clients: int
    load_s: float
    work_s: float
    requests: int
    max_ongoing: int = 5


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("zipf", 4, 4, 64, 1.0, 16, 0.1, 0.005, 3000),
        Scenario("thrash", 2, 2, 8, 0.0, 32, 0.2, 0.005, 600),
        Scenario("hot", 2, 2, 1, 0.0, 32, 0.1, 0.05, 1500, max_ongoing=4),
        Scenario("fire", 2, 4, 40, 0.0, 2, 0.2, 0.005, 0),
    )
}
VARIANTS = {
    "mux lru": {},
    "mux best": {"EVICTION": "best"},
    "mux best, 1 load at a time": {"EVICTION": "best", "MAX_CONCURRENT_LOADS": "1"},
}


@contextmanager
def serving(system: str, scenario: Scenario, best: str) -> Iterator[tuple[int, Path]]:
    """Start one system for one scenario; yield its port and the file that counts loads."""
    with tempfile.TemporaryDirectory(prefix="mux-bench-") as folder:
        counter = Path(folder) / "loads"
        counter.touch()
        env = {
            "LOAD_S": str(scenario.load_s), "WORK_S": str(scenario.work_s), "SLOTS": str(scenario.slots),
            "REPLICAS": str(scenario.replicas), "MAX_ONGOING": str(scenario.max_ongoing), "LOADS_FILE": str(counter),
        }  # fmt: skip
        if system == "Ray Serve":
            os.environ.update(env)
            with servers.ray("ray_scenario.py") as server:
                yield server.port, counter
        else:
            variant = {key: value.replace("best", best) for key, value in VARIANTS[system].items()}
            with servers.mux(servers.APPS / "scenario.yaml", **env, **variant) as server:
                yield server.port, counter


async def fire(port: int) -> tuple[Seen, Seen]:
    """Ask a warm model at a steady rate for 10 s alone, then for 10 s while cold models load without pause."""
    await steady(port, "warm", 20, 1)
    alone = await steady(port, "warm", 50, 10)
    cold = asyncio.ensure_future(closed_loop(port, zipf_ids(10_000, 40, 0.0, 1), 2))
    under_fire = await steady(port, "warm", 50, 10)
    cold.cancel()
    await asyncio.wait([cold])
    return alone, under_fire


def run(system: str, scenario: Scenario, seed: int, best: str) -> str:
    with serving(system, scenario, best) as (port, counter):
        if scenario.name == "fire":
            alone, hot = asyncio.run(fire(port))
            ratio = hot.percentile_ms(0.99) / alone.percentile_ms(0.99)
            return (
                f"| fire | {system} | {seed} | p99 alone {alone.percentile_ms(0.99):.1f} ms, under fire "
                f"{hot.percentile_ms(0.99):.1f} ms | {counter.stat().st_size} loads | ratio {ratio:.2f} | "
                f"{alone.errors + hot.errors} |"
            )
        before = counter.stat().st_size
        ids = zipf_ids(scenario.requests, scenario.models, scenario.exponent, seed)
        seen = asyncio.run(closed_loop(port, ids, scenario.clients))
        loads = 100 * (counter.stat().st_size - before) / scenario.requests
        return (
            f"| {scenario.name} | {system} | {seed} | {seen.rate:.0f} req/s | {loads:.1f} loads/100 | "
            f"p50 {seen.percentile_ms(0.5):.0f} ms, p99 {seen.percentile_ms(0.99):.0f} ms | {seen.errors} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=list(SCENARIOS), action="append")
    parser.add_argument("--ray", action="store_true", help="also Ray Serve, from a virtual environment in .bench/")
    parser.add_argument("--best", default="gdsf", help="the policy that 'mux best' uses")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if options.ray:
        servers.ensure_ray()
    print("| scenario | system | seed | rate | loads | latency | errors |\n|---|---|---|---|---|---|---|")
    for name in options.scenario or SCENARIOS:
        for seed in range(options.seeds):
            for system in [*VARIANTS, *(["Ray Serve"] if options.ray else [])]:
                print(run(system, SCENARIOS[name], seed, options.best), flush=True)


if __name__ == "__main__":
    main()
