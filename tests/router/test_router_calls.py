"""Deployment handles' calls through the router: scheduled, relayed, bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.errors import LinkLost
from runtime.link.control import RouteEntry
from runtime.link.endpoint import connect
from runtime.link.frames import (
    ABORT,
    CALL,
    END,
    MAGIC,
    REFUSED,
    RESULT,
    VERSION,
    Abort,
    CallHead,
    Command,
    Hello,
    MemoryHead,
    Refused,
    ResultHead,
    decode_head,
    encode_head,
)
from runtime.link.memory import UNREACHABLE
from runtime.link.stream import Stream
from tests.router.fakes import DEADLINE_S, FakeReplica, House, Work, at_rest, until

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


class Caller:
    """The opener's side of one call."""

    def __init__(self, consume: bool = True) -> None:
        self.frames: list[tuple[int, bytes, int]] = []
        self.received = 0
        self.over = False
        self.consume = consume

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        self.frames.append((kind, bytes(payload), flags))
        self.over = self.over or bool(flags & END) or kind in (REFUSED, ABORT)

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self.received += len(data)
        self.over = self.over or end
        if self.consume:
            stream.consumed(len(data))

    def stopped(self, stream: Stream) -> None: ...

    def cancelled(self, stream: Stream) -> None: ...

    def lost(self, stream: Stream) -> None:
        self.over = True


def head_of(deployment: str = "Model", **fields: Any) -> bytes:
    values: dict[str, Any] = {
        "deployment": deployment, "method": "__call__", "model": "", "request_id": "r1", "route": "/", "chain": [],
        "time_left_ms": 0, "streaming": False, "payload_bytes": 3, "buffers": [], "payload": b"abc",
    }  # fmt: skip
    return encode_head(CallHead(**{**values, **fields}))


async def settled(caller: Caller) -> tuple[int, bytes, int]:
    await until(lambda: caller.over, "the call's end")
    return caller.frames[-1]


async def answer(work: Work) -> None:
    await work.whole()
    work.stream.send(RESULT, encode_head(ResultHead("value", 2, [], b"ok")), END)


async def two(house: House, **options: Any) -> tuple[FakeReplica, FakeReplica]:
    """Two deployments with one replica each; the first calls the second."""
    first = house.replica(name="Front#a")
    second = house.replica(name="Model#b", **options)
    first.deployment = "Front"
    house.routes = [
        RouteEntry(name="Front", route_prefix="/", deployment={"name": "Front", "loader": "a:b"}),
        RouteEntry(name="Model", route_prefix=None, deployment={"name": "Model", "loader": "a:b"}),
    ]
    await house.start()
    return first, second


async def test_a_replicas_call_reaches_the_other_deployment(house: House) -> None:
    first, second = await two(house, script=answer)
    caller = Caller()
    first.links[0].open(CALL, head_of(model="m"), caller, END)
    kind, payload, _ = await settled(caller)
    assert (kind, decode_head(ResultHead, payload).payload) == (RESULT, b"ok")
    head = second.works[0].head_
    assert (head.method, head.payload, head.model) == ("__call__", b"abc", "m")
    await until(lambda: not house.router.fleet.pool("Model").jobs)


async def test_arguments_and_results_larger_than_a_window_pass(house: House) -> None:
    async def echo(work: Work) -> None:
        size = len(await work.whole())
        work.stream.send(RESULT, encode_head(ResultHead("value", size, [])))
        await work.stream.send_body(b"r" * size, end=True)

    first, _ = await two(house, script=echo)
    caller = Caller()
    stream = first.links[0].open(CALL, head_of(payload=b"", payload_bytes=4 * MIB), caller)
    async with asyncio.timeout(DEADLINE_S):
        await stream.send_body(b"a" * 4 * MIB, end=True)
    await until(lambda: caller.over)
    assert caller.received == 4 * MIB


async def test_a_slow_caller_holds_the_target_up(house: House) -> None:
    sent = [0]

    async def endless(work: Work) -> None:
        work.stream.send(RESULT, encode_head(ResultHead("value", 64 * MIB, [])))
        while not work.was_cancelled:
            await work.stream.send_body(b"r" * 65536)
            sent[0] += 65536

    first, second = await two(house, script=endless)
    caller = Caller(consume=False)
    stream = first.links[0].open(CALL, head_of(), caller, END)
    await until(lambda: sent[0])
    assert await at_rest(lambda: sent[0]) <= 4 * MIB
    stream.cancel()
    await until(lambda: second.works[0].was_cancelled)
    assert (await settled(caller))[0] in (ABORT, REFUSED)


async def test_streamed_items_keep_their_order(house: House) -> None:
    async def items(work: Work) -> None:
        for n in range(100):
            work.stream.send(RESULT, encode_head(ResultHead("item", 1, [65536], b"%d" % n)))
            await work.stream.send_body(b"b" * 65536)
        work.stream.send(RESULT, encode_head(ResultHead("end", 0, [])), END)

    first, _ = await two(house, script=items)
    caller = Caller()
    first.links[0].open(CALL, head_of(streaming=True), caller, END)
    await settled(caller)
    heads = [decode_head(ResultHead, payload) for _, payload, _ in caller.frames]
    assert [head.payload for head in heads[:-1]] == [b"%d" % n for n in range(100)]
    assert heads[-1].kind == "end"
    assert caller.received == 100 * 65536


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"deployment": "Nobody"}, "not_found"),
        ({"chain": ["Front", "Model", "Other"]}, "call_cycle"),
        ({"model": "../weights"}, "bad_model_id"),
        ({"model": "a" * 201}, "bad_model_id"),
    ],
)
async def test_a_call_that_cannot_be_is_refused(house: House, fields: dict[str, Any], code: str) -> None:
    first, second = await two(house, script=answer)
    caller = Caller()
    first.links[0].open(CALL, head_of(**fields), caller, END)
    kind, payload, _ = await settled(caller)
    refused = decode_head(Refused, payload)
    assert kind == REFUSED
    assert refused.failure is not None
    assert refused.failure.code == code
    assert not second.works


async def test_a_target_that_dies_fails_the_call(house: House) -> None:
    first, second = await two(house, script=lambda work: until(lambda: work.was_lost))
    caller = Caller()
    first.links[0].open(CALL, head_of(), caller, END)
    await until(lambda: second.works)
    second.die()
    _, payload, _ = await settled(caller)
    failure = decode_head(Refused, payload).failure
    assert failure is not None
    assert failure.code == "replica_died"


async def test_a_caller_that_dies_cancels_the_call(house: House) -> None:
    first, second = await two(house, script=lambda work: until(lambda: work.was_cancelled))
    first.links[0].open(CALL, head_of(), Caller(), END)
    await until(lambda: second.works)
    first.die()
    await until(lambda: second.works[0].was_cancelled)
    await until(lambda: not house.router.fleet.pool("Model").jobs)


async def test_a_refused_call_is_tried_again(house: House) -> None:
    async def once(work: Work) -> None:
        if len(second.works) == 1:
            work.refuse("full")
            work.stream.link.command(Command("place"))
        else:
            await answer(work)

    first, second = await two(house, script=once)
    caller = Caller()
    stream = first.links[0].open(CALL, head_of(), caller)
    await stream.send_body(b"later", end=True)
    assert (await settled(caller))[0] == RESULT
    assert second.works[1].parts == [b"later"]


async def test_shared_memory_is_the_business_of_caller_and_target(house: House) -> None:
    async def unreachable(work: Work) -> None:
        work.refuse(UNREACHABLE)

    first, second = await two(house, script=unreachable)
    caller, memory = Caller(), MemoryHead(1, 2, 3, b"mark")
    first.links[0].open(CALL, head_of(memory=memory), caller, END)
    kind, payload, _ = await settled(caller)
    assert (kind, decode_head(Refused, payload).why) == (REFUSED, UNREACHABLE)
    assert second.works[0].head_.memory == memory
    assert len(second.works) == 1, "no other replica is asked"
    assert not house.router.fleet.pool("Model").jobs


async def test_a_calls_deadline_fails_it(house: House) -> None:
    first, second = await two(house, script=lambda work: until(lambda: work.was_cancelled))
    caller = Caller()
    first.links[0].open(CALL, head_of(time_left_ms=60), caller, END)
    _, payload, _ = await settled(caller)
    failure = decode_head(Refused, payload).failure
    assert failure is not None
    assert failure.code == "request_timeout"
    await until(lambda: second.works[0].was_cancelled)


async def test_what_the_target_aborts_with_is_passed_on(house: House) -> None:
    async def fail(work: Work) -> None:
        work.abort("user_code_failed", "boom")

    first, _ = await two(house, script=fail)
    caller = Caller()
    first.links[0].open(CALL, head_of(), caller, END)
    kind, payload, _ = await settled(caller)
    assert (kind, decode_head(Abort, payload).message) == (ABORT, "boom")


async def test_a_script_outside_may_call_with_the_token(house: House) -> None:
    house.calls_address = f"unix:{house.folder}/calls.sock"
    await two(house, script=answer)

    class Outside:
        def connected(self, link: Any) -> None: ...
        def lost(self, link: Any, why: str) -> None: ...
        def goaway(self, link: Any, reason: str) -> None: ...

    with pytest.raises(LinkLost):
        await connect(house.calls_address, Hello(MAGIC, VERSION, "caller", "script", "wrong"), Outside())  # type: ignore[arg-type]
    link = await connect(house.calls_address, Hello(MAGIC, VERSION, "caller", "script", "outside"), Outside())  # type: ignore[arg-type]
    caller = Caller()
    link.open(CALL, head_of(), caller, END)
    assert (await settled(caller))[0] == RESULT
    link.close("done")
    await until(lambda: not link.alive)
