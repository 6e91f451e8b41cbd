"""The real scheduler behind the front: models, wants, queues, replicas that come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.link.connection import Link
from runtime.link.control import RouteEntry
from runtime.link.frames import Command, FailureHead
from tests.router.fakes import Answer, FakeReplica, House, Work, until

pytestmark = pytest.mark.anyio
HEADER = "serve_multiplexed_model_id"


def loads(replica: FakeReplica, failure: FailureHead | None = None) -> None:
    """Have the replica load what is wanted: loading at once, resident with the next word."""

    def on_command(link: Link, command: Command) -> None:
        if command.verb == "want":
            replica.publish(command.model, "loading")
            if failure is not None:
                replica.publish(command.model, "failed", failure=failure)
            else:
                replica.publish(command.model, "resident", load_s=0.25)

    replica.on_command = on_command


async def both(house: House, **headers: str) -> tuple[Answer, Answer]:
    first, second = await asyncio.gather(house.ask("GET", "/", headers), house.ask("GET", "/", headers))
    return first, second


async def test_a_resident_model_is_a_hit(house: House) -> None:
    async def hit(work: Work) -> None:
        work.respond(work.head_.model.encode(), cache="hit")

    house.replica(caches=1, models=("m",), script=hit)
    await house.start()
    answer = await house.ask("GET", "/", {HEADER.replace("_", "-").title(): "m"})
    assert (answer.body, answer.headers["x-mux-cache"]) == (b"m", "hit")
    assert not house.replicas[0].commands


async def test_a_model_that_is_nowhere_is_wanted_loaded_and_served(house: House) -> None:
    async def served(work: Work) -> None:
        work.respond(cache=work.head_.cache, load_ms=250.0)

    replica = house.replica(caches=1, script=served)
    loads(replica)
    await house.start()
    answers = await both(house, **{HEADER: "new"})
    assert sorted(answer.headers["x-mux-cache"] for answer in answers) == ["load", "wait"]


async def test_a_model_that_is_wanted_once_a_replica_is_up_is_loaded_for_its_oldest_request(house: House) -> None:
    async def answer(work: Work) -> None:
        work.respond(cache=work.head_.cache, load_ms=250.0)

    await house.start()
    asked = []
    for _ in range(2):
        asked.append(asyncio.create_task(house.ask("POST", "/", {"serve-multiplexed-model-id": "m"}, b"x")))
        await until(lambda: house.router.fleet.pools["Model"].queued == len(asked))
    replica = house.replica(caches=1, script=answer)
    loads(replica)
    await replica.start()
    await house.apply()
    answers = await asyncio.gather(*asked)
    assert [one.headers["x-mux-cache"] for one in answers] == ["load", "wait"]
    assert {answer.headers["x-mux-load-ms"] for answer in answers} == {"250.0"}
    assert [command.verb for command in replica.commands if command.verb == "want"] == ["want"]
    assert float(answers[0].headers["x-mux-queue-ms"]) > 0


async def test_the_last_of_several_model_headers_wins_and_an_empty_one_is_none(house: House) -> None:
    replica = house.replica(caches=1, models=("a", "b"))
    await house.start()
    client = await house.connect()
    client.send(
        b"GET / HTTP/1.1\r\nhost: x\r\nserve_multiplexed_model_id: a\r\nServe-Multiplexed-Model-Id: b\r\n\r\n"
        b"GET / HTTP/1.1\r\nhost: x\r\nserve_multiplexed_model_id:\r\n\r\n"
    )
    await client.answer()
    await client.answer()
    await client.close()
    assert [work.head_.model for work in replica.works] == ["b", ""]


async def test_a_failed_load_is_the_answer_with_its_retry_after(house: House) -> None:
    replica = house.replica(caches=1)
    loads(replica, FailureHead("model_load_failed", "no such weights", 4.0))
    await house.start()
    answer = await house.ask("GET", "/", {HEADER: "bad"})
    assert (answer.status, answer.json()["error"], answer.headers["retry-after"]) == (503, "model_load_failed", "4")


async def test_a_model_unknown_to_its_source_is_404(house: House) -> None:
    replica = house.replica(caches=1)
    loads(replica, FailureHead("model_not_found", "no such object"))
    await house.start()
    assert (await house.ask("GET", "/", {HEADER: "bad"})).status == 404


async def test_a_full_queue_is_503_with_retry_after(house: House) -> None:
    house.deployment["max_queued_requests"] = 0
    gate: list[int] = []

    async def hold(work: Work) -> None:
        await until(lambda: gate)
        work.respond()

    replica = house.replica(places=1, script=hold)
    await house.start()
    first = asyncio.ensure_future(house.ask())
    await until(lambda: replica.works)
    answer = await house.ask()
    assert (answer.status, answer.json()["error"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    gate.append(1)
    assert (await first).status == 200


async def test_a_queued_request_is_served_when_a_place_comes_free(house: House) -> None:
    replica = house.replica(places=1)
    await house.start()
    answers = await asyncio.gather(*(house.ask() for _ in range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert len(replica.works) == 10


async def test_a_client_that_leaves_while_it_waits_takes_its_want_back(house: House) -> None:
    replica = house.replica(caches=1)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nserve_multiplexed_model_id: m\r\n\r\n")
    await until(lambda: [c for c in replica.commands if c.verb == "want"])
    await client.close()
    await until(lambda: [c for c in replica.commands if c.verb == "unwant"])
    assert not house.router.fleet.pool().jobs


async def test_a_request_waits_for_the_first_replica(house: House) -> None:
    await house.start()
    waiting = asyncio.ensure_future(house.ask())
    await until(lambda: house.router.fleet.pool().jobs)
    replica = house.replica()
    await replica.start()
    await house.apply()
    assert (await waiting).status == 200


async def test_a_lost_link_is_made_again(house: House) -> None:
    replica = house.replica(caches=1, models=("m",))
    await house.start()
    replica.links[0].close("oops")
    await until(lambda: not replica.links)
    await until(lambda: replica.links)
    await until(lambda: house.router.fleet.pool().holds("m"))
    assert (await house.ask("GET", "/", {HEADER: "m"})).status == 200
    assert [message for level, message in house.log.events if level == "WARNING" and "is down" in message]


async def test_a_link_that_ends_with_its_replica_or_router_is_no_warning(house: House) -> None:
    replica = house.replica()
    house.replica()
    await house.start()
    replica.links[0].goaway("draining")
    replica.links[0].close("the replica stops")
    await until(lambda: any("is down" in message for _, message in house.log.events))
    await house.router.stop(0.5)
    told = [level for level, message in house.log.events if "is down" in message]
    assert set(told) == {"INFO"}
    assert len(told) >= 2


async def test_a_replica_that_refuses_as_draining_gets_no_more(house: House) -> None:
    async def drained(work: Work) -> None:
        work.refuse("draining")

    first = house.replica(script=drained)
    second = house.replica()
    await house.start()
    for _ in range(6):
        assert (await house.ask()).headers["x-mux-replica"] == "Model#r1"
    assert len(first.works) <= 1
    assert len(second.works) == 6


async def test_a_draining_replica_finishes_and_its_link_is_closed_when_it_leaves(house: House) -> None:
    gate: list[int] = []

    async def hold(work: Work) -> None:
        await until(lambda: gate)
        work.respond(b"finished")

    first = house.replica(script=hold)
    await house.start()
    running = asyncio.ensure_future(house.ask())
    await until(lambda: first.works)
    second = house.replica(name="Model#new")
    await second.start()
    await house.apply([second])
    assert (await house.ask()).headers["x-mux-replica"] == "Model#new"
    gate.append(1)
    assert (await running).body == b"finished"
    await until(lambda: not first.links, "the link's end")
    assert list(house.router.fleet.pool().replicas) == ["Model#new"]


async def test_a_removed_deployment_answers_404_and_lets_go_of_what_waited(house: House) -> None:
    await house.start()
    waiting = asyncio.ensure_future(house.ask())
    await until(lambda: house.router.fleet.pool().jobs)
    house.routes = [RouteEntry(name="Other", route_prefix="/other", deployment={"name": "Other", "loader": "a:b"})]
    await house.apply()
    assert (await waiting).json()["error"] == "draining"
    assert (await house.ask()).status == 404


async def test_changed_limits_reach_the_scheduler(house: House) -> None:
    gate: list[int] = []

    async def hold(work: Work) -> None:
        await until(lambda: gate)
        work.respond()

    house.deployment["max_queued_requests"] = 0
    replica = house.replica(places=1, script=hold)
    await house.start()
    running = asyncio.ensure_future(house.ask())
    await until(lambda: replica.works)
    assert (await house.ask()).status == 503
    house.deployment = {**house.deployment, "max_queued_requests": 3}
    await house.apply()
    waiting = asyncio.ensure_future(house.ask())
    await until(lambda: house.router.fleet.pool().queued == 1)
    gate.append(1)
    assert [(await running).status, (await waiting).status] == [200, 200]


@pytest.mark.parametrize(
    ("model_id", "method", "path", "body"),
    [
        ({"query": "model"}, "GET", "/?x=1&model=m", b""),
        ({"path": "/models/{model_id}/predict"}, "POST", "/models/m/predict", b"{}"),
        ({"json_field": "meta.model"}, "POST", "/", b'{"meta": {"model": "m"}, "inputs": [1]}'),
        ({"json_field": "model"}, "POST", "/", b'{"model": "m", "pad": "' + b"x" * 200_000 + b'"}'),
        ({"header": "X-Model"}, "GET", "/", b""),
    ],
    ids=["query", "path", "json", "large-json", "header"],
)
async def test_the_model_can_be_named_elsewhere(
    house: House, model_id: dict[str, str], method: str, path: str, body: bytes
) -> None:
    async def whole(work: Work) -> None:
        work.respond(b"%d" % len(await work.whole()))

    house.model_id = model_id
    replica = house.replica(caches=1, models=("m",), script=whole)
    await house.start()
    answer = await house.ask(method, path, {"x_model": "m"} if "header" in model_id else {}, body)
    assert (answer.status, answer.body) == (200, b"%d" % len(body))
    assert replica.works[0].head_.model == "m"


async def test_a_bad_id_in_a_body_is_400(house: House) -> None:
    house.model_id = {"json_field": "model"}
    house.replica(caches=1)
    await house.start()
    answer = await house.ask("POST", "/", {}, b'{"model": "../x"}')
    assert (answer.status, answer.json()["error"]) == (400, "bad_model_id")


async def test_a_scheduler_that_fails_answers_500_and_is_unhealthy(house: House) -> None:
    class Broken:
        def handle(self, event: Any, now: float) -> list[Any]:
            raise RuntimeError("it broke")

        def deadline(self) -> None:
            return None

    house.parts = {"make_scheduler": lambda settings: Broken()}
    await house.start()
    answer = await house.ask()
    assert (answer.status, answer.json()["error"]) == (500, "internal_error")
    assert "it broke" not in answer.json()["message"]
    health = await house.ask("GET", "/-/healthz")
    assert (health.status, health.json()["status"]) == (503, "unhealthy")
