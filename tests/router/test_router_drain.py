"""The end of a router: what runs is answered, nothing new is taken, nothing is left."""

from __future__ import annotations

import asyncio
import random

import pytest

from runtime.link.frames import Command
from tests.router.fakes import House, Work, until

pytestmark = pytest.mark.anyio


async def test_what_runs_is_answered_and_nothing_new_is_taken(house: House) -> None:
    gate: list[int] = []

    async def hold(work: Work) -> None:
        await until(lambda: gate)
        work.respond(b"in time")

    replica = house.replica(script=hold)
    await house.start()
    idle = await house.connect()
    running = asyncio.ensure_future(house.ask())
    await until(lambda: replica.works)
    stopping = asyncio.ensure_future(house.router.stop(5.0))
    assert await idle.closed() == b""
    await idle.close()
    with pytest.raises(OSError, match=r"."):
        await house.connect()
    gate.append(1)
    answer = await running
    assert (answer.body, answer.headers["connection"]) == (b"in time", "close")
    assert await stopping is True


async def test_a_client_that_asked_just_now_is_answered_once_more(house: House) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    assert "connection" not in (await client.ask("GET", "/")).headers
    stopping = asyncio.ensure_future(house.router.stop(5.0))
    await until(lambda: not house.router.server.servers[0].is_serving())
    assert (await client.ask("GET", "/")).headers["connection"] == "close"
    assert await client.closed() == b""
    await client.close()
    assert await stopping is True


async def test_what_outlasts_the_drain_is_cut_off(house: House) -> None:
    replica = house.replica(script=lambda work: until(lambda: work.was_cancelled or work.was_lost))
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: replica.works)
    assert await house.router.stop(0.05) is False
    assert await client.closed() == b""
    await client.close()


async def test_nothing_remains_of_a_hundred_unhappy_requests(house: House) -> None:
    """Every mix of leaving clients, refusals, aborts and answers ends with empty tables."""
    dice = random.Random(7)

    async def moody(work: Work) -> None:
        mood = dice.random()
        if mood < 0.2:
            work.refuse("full")
            work.stream.link.command(Command("place"))
        elif mood < 0.3:
            work.abort()
        elif mood < 0.4:
            work.respond(b"part", end=False)
            work.abort()
        elif mood < 0.5:
            await until(lambda: work.was_cancelled)
        elif mood < 0.6:
            work.respond(b"early")
        else:
            work.respond(b"%d" % len(await work.whole()))

    for _ in range(2):
        house.replica(script=moody, places=4)
    await house.start()

    async def visit(number: int) -> None:
        client = await house.connect()
        size = dice.choice([0, 10, 70_000, 400_000])
        head = b"POST / HTTP/1.1\r\nhost: a\r\nx-request-timeout-seconds: 0.3\r\ncontent-length: %d\r\n\r\n" % size
        try:
            client.send(head + b"x" * (size if dice.random() < 0.7 else size // 2))
            if dice.random() < 0.3:
                client.writer.transport.abort()
            elif dice.random() < 0.8:
                await client.answer()
        finally:
            await client.close()

    async with asyncio.timeout(30):
        results = await asyncio.gather(*(visit(number) for number in range(100)), return_exceptions=True)
    unexpected = (ConnectionError, asyncio.IncompleteReadError, ValueError, TimeoutError)
    assert [one for one in results if one is not None and not isinstance(one, unexpected)] == []
    pool = house.router.fleet.pool()
    await until(lambda: not pool.jobs, "the jobs' end")
    await until(lambda: all(not link.streams for replica in house.replicas for link in replica.links))
    assert not house.router.desk.timed
    assert not pool._cancelled
    assert not pool.queued
    assert house.log.errors() == []
    await until(lambda: not house.router.sweep.paused)
