"""What the router answers itself, and what it tells the supervisor."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from runtime.errors import BadRequest, MuxError, NoSuchThing
from runtime.link.connection import Link
from runtime.link.frames import Command, FailureHead, Reply
from tests.router.fakes import House, until

pytestmark = pytest.mark.anyio


async def test_healthz_is_200_with_a_table_and_503_while_draining(house: House) -> None:
    house.replica()
    await house.start()
    assert (await house.ask("GET", "/-/healthz")).status == 200
    house.router.admin.draining = True
    assert (await house.ask("GET", "/-/healthz")).status == 503


async def test_healthz_is_503_when_the_scheduler_is_late(house: House) -> None:
    class Late:
        def handle(self, event: object, now: float) -> list[object]:
            return []

        def deadline(self) -> float:
            return 1.0

    house.parts = {"make_scheduler": lambda settings: Late()}
    house.replica()
    await house.start()
    pool = house.router.fleet.pool()
    pool.close()
    pool._timer, pool._timer_at = asyncio.get_running_loop().call_later(100, lambda: None), 1.0
    assert "late" in (await house.ask("GET", "/-/healthz")).json()["message"]


async def test_routes_and_models(house: House) -> None:
    replica = house.replica(caches=1, models=("a",))
    await house.start()
    assert (await house.ask("GET", "/-/routes")).json() == {"/": "Model"}
    replica.publish("b", "failed", failure=FailureHead("model_load_failed", "bad weights"))
    await until(lambda: len(house.router.overview.models()) == 2)
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nserve_multiplexed_model_id: c\r\n\r\n")
    await until(lambda: house.router.fleet.pool().jobs)
    models = (await house.ask("GET", "/-/models")).json()["models"]
    assert [(m["model"], m["state"], m.get("error", "")) for m in models] == [
        ("a", "resident", ""),
        ("b", "failed", "bad weights"),
        ("c", "waiting", ""),
    ]
    await client.close()


async def test_metrics_count_what_was_answered(house: House) -> None:
    house.replica(caches=1, models=("a",))
    await house.start()
    await house.ask("GET", "/", {"serve_multiplexed_model_id": "a"})
    await house.ask("GET", "/", {"serve_multiplexed_model_id": "a b"})
    answer = await house.ask("GET", "/-/metrics")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'mux_requests_total{deployment="Model",status="200"} 1.0' in text
    assert 'mux_requests_total{deployment="Model",status="400"} 1.0' in text
    assert 'mux_requests_by_model_total{deployment="Model",model="a"} 1.0' in text
    assert 'mux_request_seconds_count{deployment="Model"} 2.0' in text
    assert 'mux_resident_models{deployment="Model",replica="Model#r0"} 1.0' in text


async def test_model_labels_are_capped(house: House) -> None:
    tally = (await house.start()).router.desk.unrouted
    for number in range(300):
        tally.count(200, "hit", f"m{number}", 1.0, 0.0)
    assert len(tally.by_model) == 101
    assert tally.by_model["other"] == 200


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        ("", {"authorization": "Bearer "}, 401),
        ("t0k", {}, 401),
        ("t0k", {"authorization": "Bearer nope"}, 401),
        ("t0k", {"authorization": "t0k"}, 401),
        ("t0k", {"authorization": "Bearer t0k"}, 200),
    ],
)
async def test_admin_verbs_need_the_token(house: House, token: str, headers: dict[str, str], status: int) -> None:
    house.admin_token = token
    replica = house.replica(caches=1, models=("a",))

    def on_command(link: Link, command: Command) -> None:
        link.reply(Reply(command.id, True))

    replica.on_command = on_command
    await house.start()
    answer = await house.ask("POST", "/-/models/pin", headers, b'{"models": ["a"]}')
    assert answer.status == status
    assert ([c.verb for c in replica.commands] == ["pin"]) == (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/-/models/load", b"", 404),
        ("POST", "/-/models/evict", b"{}", 404),
        ("POST", "/-/models/load", b"[]", 400),
        ("POST", "/-/models/load", b'{"models": ["../x"]}', 400),
        ("POST", "/-/models/load", b'{"models": ["a"], "deployment": "Nobody"}', 404),
        ("POST", "/-/models/load", b'{"models": ["a"], "replica": "nobody"}', 404),
        ("POST", "/-/models/load", b'{"models": ["' + b"a" * 70000 + b'"]}', 413),
        ("GET", "/-/nothing", b"", 404),
        ("DELETE", "/-/routes", b"", 404),
    ],
)
async def test_what_is_wrong_with_an_admin_request(
    house: House, method: str, path: str, body: bytes, status: int
) -> None:
    house.admin_token = "t"
    house.replica(caches=1)
    await house.start()
    assert (await house.ask(method, path, {"authorization": "Bearer t"}, body)).status == status


async def test_a_load_goes_to_a_holder_else_to_where_there_is_room(house: House) -> None:
    replies = {"load": True}

    def on_command(link: Link, command: Command) -> None:
        link.reply(Reply(command.id, replies["load"], "" if replies["load"] else "no room"))

    first = house.replica(caches=1, slots=0)
    second = house.replica(caches=1, slots=2)
    first.on_command = second.on_command = on_command
    await house.start()
    await house.router.overview.query("load", {"models": ["m"], "deployment": "Model"})
    assert (len(first.commands), len(second.commands)) == (0, 1)
    first.publish("m", "resident")
    await until(lambda: house.router.fleet.pool().holds("m"))
    infos = await house.router.overview.query("load", {"models": ["m"]})
    assert len(first.commands) == 1
    assert infos["models"][0]["replica"] == "Model#r0"
    replies["load"] = False
    house.admin_token = ""
    with pytest.raises(Exception, match="no room"):
        await house.router.overview.query("load", {"models": ["m"]})


async def test_the_supervisors_queries(house: House) -> None:
    house.replica(caches=1, models=("a",))
    await house.start()
    answer = await house.ask("GET", "/", {"serve_multiplexed_model_id": "a", "x-request-id": "r-1"})
    assert answer.status == 200
    query = house.router.overview.query
    status = await query("status", {})
    assert (status["requests"], status["queued"]) == (1, {"Model": 0})
    assert [m["model"] for m in (await query("models", {"deployment": "Model"}))["models"]] == ["a"]
    story = await query("explain", {"request_id": "r-1"})
    assert "r-1 for model 'a' dispatched to Model#r0" in story["lines"][0]
    assert (await query("explain", {"model": "a"}))["records"][0]["replica"] == "Model#r0"
    assert (await query("explain", {"request_id": "unknown"}))["lines"] == []
    with pytest.raises(NoSuchThing):
        await query("stacks", {})
    with pytest.raises(BadRequest):
        await query("load", {"models": "a"})
    assert msgspec.json.encode(story)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"error": "user_code_failed", "hint": "look"}, "user_code_failed"),
        ({"error": "model_load_failed"}, "model_load_failed"),
        ({"error": "of a later version"}, "internal_error"),
        (None, "internal_error"),
    ],
)
async def test_what_a_replica_answers_a_verb_with_keeps_its_code(
    house: House, told: dict[str, str] | None, code: str
) -> None:
    replica = house.replica(caches=1)

    def on_command(link: Link, command: Command) -> None:
        link.reply(Reply(command.id, False, "torn weights", msgspec.Raw(msgspec.msgpack.encode(told))))

    replica.on_command = on_command
    await house.start()
    with pytest.raises(MuxError, match="torn weights") as caught:
        await house.router.overview.change("load", ["a"], "Model", "")
    assert caught.value.code == code
    assert ("hint" in (told or {})) == bool(caught.value.hint)
