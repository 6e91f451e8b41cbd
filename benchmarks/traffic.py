"""Seeded traffic over real HTTP: a closed loop of clients, and a steady open loop."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
import time
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Seen:
    """What the clients saw: seconds per request, errors, and the whole run's wall time."""

    wall_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.wall_s


def zipf_ids(count: int, models: int, exponent: float, seed: int) -> list[str]:
    """Draw ``count`` ids, rank r with weight r^-exponent (exponent 0: uniform)."""
    draw = random.Random(seed)
    cumulative = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(models)))
    return [str(bisect.bisect(cumulative, draw.random() * cumulative[-1])) for _ in range(count)]


async def ask(session: aiohttp.ClientSession, url: str, model: str, seen: Seen) -> None:
    started = time.perf_counter()
    try:
        async with session.get(url, headers={"serve_multiplexed_model_id": model}) as answer:
            body = await answer.json(content_type=None)
            good = answer.status == 200 and body["model"] == model
    except aiohttp.ClientError:
        good = False
    if good:
        seen.latencies_s.append(time.perf_counter() - started)
    else:
        seen.errors += 1


async def closed_loop(port: int, ids: list[str], clients: int) -> Seen:
    """``clients`` clients take the next id as soon as they have their answer."""
    seen, queue = Seen(), iter(ids)
    url, started = f"http://127.0.0.1:{port}/", time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        for model in queue:
            await ask(session, url, model, seen)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    seen.wall_s = time.perf_counter() - started
    return seen


async def steady(port: int, model: str, rate: float, seconds: float) -> Seen:
    """Ask for one model at a steady rate, whatever the answers take (an open loop hides no stall)."""
    seen, started = Seen(), time.perf_counter()
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            group.create_task(ask(session, url, model, seen))
    seen.wall_s = time.perf_counter() - started
    return seen
