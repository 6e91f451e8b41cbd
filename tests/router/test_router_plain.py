"""Small requests and answers, through both shells."""

from __future__ import annotations

import pytest

from runtime.link.frames import FailureHead
from tests.router.fakes import House, Work, until

pytestmark = pytest.mark.anyio


async def test_a_request_reaches_a_replica_and_its_answer_comes_back(house: House) -> None:
    replica = house.replica()
    await house.start()
    answer = await house.ask("POST", "/x/y?a=1", {"x-custom": "1"}, b"hello")
    assert (answer.status, answer.body) == (200, b"ok")
    head = replica.works[0].head_
    assert (head.method, head.path, head.query, head.body) == ("POST", "/x/y", b"a=1", b"hello")
    assert (b"x-custom", b"1") in head.headers
    assert answer.headers["x-mux-replica"] == "Model#r0"
    assert answer.headers["x-request-id"] == head.request_id
    assert len(head.request_id) == 10
    assert answer.headers["content-length"] == "2"


async def test_many_requests_on_one_connection(house: House) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    for _ in range(5):
        assert (await client.ask("POST", "/", {}, b"x")).status == 200
    await client.close()
    assert len(house.log.lines) == 5
    assert house.log.lines[0]["status"] == 200


async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    async def path(work: Work) -> None:
        work.respond(work.head_.path.encode())

    house.replica(script=path)
    await house.start()
    client = await house.connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(50)))
    assert [(await client.answer()).body for n in range(50)] == [b"/%d" % n for n in range(50)]
    await client.close()


async def test_an_unknown_route_is_404(house: House) -> None:
    house.deployment["name"] = "Model"
    from runtime.link.control import RouteEntry

    house.routes = [RouteEntry(name="Model", route_prefix="/api", deployment=house.deployment)]
    house.replica()
    await house.start()
    answer = await house.ask("GET", "/apix")
    assert (answer.status, answer.json()["error"]) == (404, "route_not_found")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (await house.ask("GET", "/api/x")).status == 200
    assert (await house.ask("GET", "/api")).status == 200


async def test_a_refused_request_is_answered_with_its_failure(house: House) -> None:
    async def refuse(work: Work) -> None:
        work.refuse("deadlock", FailureHead("slot_deadlock", "no way", 2.5))

    house.replica(script=refuse)
    await house.start()
    answer = await house.ask()
    assert (answer.status, answer.json()["error"], answer.headers["retry-after"]) == (503, "slot_deadlock", "3")


async def test_user_code_that_fails_is_500_without_a_traceback(house: House) -> None:
    async def fail(work: Work) -> None:
        work.abort("user_code_failed", "ValueError: boom")

    house.replica(script=fail)
    await house.start()
    answer = await house.ask()
    assert answer.status == 500
    assert answer.json()["message"] == "ValueError: boom"
    assert await_jobs(house) == 0


def await_jobs(house: House) -> int:
    return sum(len(pool.jobs) for pool in house.router.fleet.pools.values())


async def test_nothing_remains_of_finished_requests(house: House) -> None:
    replica = house.replica()
    await house.start()
    for _ in range(3):
        await house.ask("GET", "/")
    await until(lambda: await_jobs(house) == 0)
    assert not house.router.desk.timed
    assert all(not link.streams for link in replica.links)
