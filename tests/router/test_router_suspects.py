"""Replicas that the table calls suspect: nothing new goes there until they say something, here or to the supervisor."""

from __future__ import annotations

import asyncio

import pytest

from tests.router.fakes import House, Work, until

pytestmark = pytest.mark.anyio
HEADER = "serve_multiplexed_model_id"


async def test_a_suspect_gets_no_request_until_the_table_trusts_it(house: House) -> None:
    first, second = house.replica(), house.replica()
    await house.start()
    first.place = "suspect"
    await house.apply()
    for _ in range(6):
        assert (await house.ask()).headers["x-mux-replica"] == "Model#r1"
    assert first.works == []
    first.place = "up"
    await house.apply()
    second.place = "suspect"
    await house.apply()
    assert (await house.ask()).headers["x-mux-replica"] == "Model#r0"


async def test_requests_wait_for_the_only_replica_and_go_when_it_is_trusted(house: House) -> None:
    replica = house.replica(caches=1, models=("m",))
    await house.start()
    replica.place = "suspect"
    await house.apply()
    waiting = [asyncio.ensure_future(house.ask("GET", "/", {HEADER: "m"})) for _ in range(3)]
    await until(lambda: house.router.fleet.pool().queued == 3)
    replica.place = "up"
    await house.apply()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200, 200]


async def test_a_word_of_the_replica_is_enough(house: House) -> None:
    replica = house.replica(caches=1, models=("m",))
    await house.start()
    replica.place = "suspect"
    await house.apply()
    waiting = asyncio.ensure_future(house.ask("GET", "/", {HEADER: "m"}))
    await until(lambda: house.router.fleet.pool().queued)
    replica.publish("other", "resident")
    assert (await waiting).status == 200


async def test_a_request_that_waits_for_a_suspect_keeps_its_deadline(house: House) -> None:
    replica = house.replica()
    await house.start()
    replica.place = "suspect"
    await house.apply()
    assert (await house.ask("GET", "/", {"x-request-timeout-seconds": "0.2"})).status == 408


async def test_what_runs_at_a_suspect_ends_there(house: House) -> None:
    gate: list[int] = []

    async def hold(work: Work) -> None:
        await until(lambda: gate)
        work.respond(b"finished")

    replica = house.replica(script=hold)
    await house.start()
    running = asyncio.ensure_future(house.ask())
    await until(lambda: replica.works)
    replica.place = "suspect"
    await house.apply()
    gate.append(1)
    assert (await running).body == b"finished"


async def test_a_new_link_of_a_suspect_is_used(house: House) -> None:
    replica = house.replica()
    await house.start()
    replica.place = "suspect"
    await house.apply()
    replica.links[0].close("oops")
    assert (await house.ask()).status == 200
