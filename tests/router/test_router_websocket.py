"""Websockets through the router, with a real client."""

from __future__ import annotations

import asyncio

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from runtime.link.frames import CLOSE, MESSAGE, MORE, RESPONSE, TEXT, Close, ResponseHead, decode_head, encode_head
from tests.router.fakes import DEADLINE_S, House, Work, until

pytestmark = pytest.mark.anyio


def accept(work: Work, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    work.stream.send(RESPONSE, encode_head(ResponseHead(101, headers or [])))


async def echo(work: Work) -> None:
    """Accept, echo every message, close as the client does."""
    accept(work, [(b"sec-websocket-protocol", b"chat"), (b"x-app", b"1")])
    partial = b""
    while True:
        await until(lambda: work.frames or work.was_cancelled)
        if work.was_cancelled:
            return
        kind, payload, flags = work.frames.pop(0)
        if kind == CLOSE:
            work.stream.close_message(payload)
            return
        work.stream.consumed(len(payload))
        partial += payload
        if not flags & MORE:
            await work.stream.send_message(partial, bool(flags & TEXT))
            partial = b""


async def dial(house: House, path: str = "/ws", **options: object) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{house.port}{path}", **options)  # type: ignore[arg-type]


async def test_messages_go_both_ways(house: House) -> None:
    replica = house.replica(script=echo)
    await house.start()
    async with asyncio.timeout(DEADLINE_S), await dial(house, subprotocols=["chat"]) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response.headers["x-app"] == "1"
        assert socket.response.headers["x-mux-replica"] == "Model#r0"
        await socket.send("text ü")
        assert await socket.recv() == "text ü"
        await socket.send(b"\x00\xff")
        assert await socket.recv() == b"\x00\xff"
    head = replica.works[0].head_
    assert (head.scheme, head.path) == ("ws", "/ws")
    await until(lambda: not house.router.fleet.pool().jobs)
    assert house.log.lines[-1]["status"] == 101
    assert not replica.works[0].was_cancelled  # an orderly close is told, not cancelled


async def test_a_message_larger_than_the_window_passes(house: House) -> None:
    house.replica(script=echo)
    await house.start()
    async with asyncio.timeout(DEADLINE_S), await dial(house, max_size=None, subprotocols=["chat"]) as socket:
        await socket.send(b"m" * 3_000_000)
        assert len(await socket.recv()) == 3_000_000


async def test_the_model_header_counts(house: House) -> None:
    replica = house.replica(script=echo, caches=1, models=("m1",))
    await house.start()
    headers = {"serve-multiplexed-model-id": "m1"}
    async with asyncio.timeout(DEADLINE_S), await dial(house, additional_headers=headers, subprotocols=["chat"]):
        assert replica.works[0].head_.model == "m1"


async def test_the_applications_close_reaches_the_client(house: House) -> None:
    async def close(work: Work) -> None:
        accept(work)
        work.stream.close_message(encode_head(Close(4000, "enough")))

    house.replica(script=close)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        socket = await dial(house)
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "enough")


async def test_the_clients_close_reaches_the_application(house: House) -> None:
    replica = house.replica(script=echo)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        socket = await dial(house, subprotocols=["chat"])
        await socket.close(4001, "bye")
    await until(lambda: not house.router.fleet.pool().jobs)
    assert replica.works[0].stream.local_ended


async def test_a_refused_handshake_is_an_http_answer(house: House) -> None:
    async def refuse(work: Work) -> None:
        work.respond(b"not you", status=403)

    house.replica(script=refuse)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(websockets.InvalidStatus) as caught:
            await dial(house)
    assert (caught.value.response.status_code, caught.value.response.body) == (403, b"not you")


async def test_a_bad_model_id_refuses_the_handshake(house: House) -> None:
    house.replica(script=echo)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(websockets.InvalidStatus) as caught:
            await dial(house, additional_headers={"serve-multiplexed-model-id": "a b"})
    assert caught.value.response.status_code == 400


async def test_of_a_client_that_vanishes_the_application_hears_and_ends(house: House) -> None:
    heard: list[tuple[int, bytes]] = []

    async def listen(work: Work) -> None:
        accept(work, [(b"sec-websocket-protocol", b"chat")])
        await until(lambda: any(kind == CLOSE for kind, _, _ in work.frames) or work.was_cancelled)
        heard.extend((kind, payload) for kind, payload, _ in work.frames)
        await work.stream.send_message(b"too late", text=True)
        work.stream.close_message(encode_head(Close(1000)))

    replica = house.replica(script=listen)
    await house.start()
    socket = await dial(house, subprotocols=["chat"])
    await socket.send("last words")
    socket.transport.close()  # behind what was written, and without a close frame
    await until(lambda: not house.router.fleet.pool().jobs)
    (word, said), (kind, payload) = heard
    assert (word, said) == (MESSAGE, b"last words")
    assert (kind, decode_head(Close, payload).code) == (CLOSE, 1005)
    assert not replica.works[0].was_cancelled


async def test_a_client_that_vanishes_before_it_is_accepted_cancels(house: House) -> None:
    async def wait(work: Work) -> None:
        await until(lambda: work.was_cancelled)

    replica = house.replica(script=wait)
    await house.start()
    dialling = asyncio.create_task(dial(house))
    await until(lambda: replica.works)
    dialling.cancel()
    await until(lambda: replica.works[0].was_cancelled)
    await until(lambda: not house.router.fleet.pool().jobs)


async def test_what_a_client_had_sent_is_not_kept_for_ever_once_it_has_vanished(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.router.websocket.UNREAD_S", 0.05)

    async def read_nothing(work: Work) -> None:
        accept(work)
        await until(lambda: work.was_cancelled)

    replica = house.replica(script=read_nothing)
    await house.start()
    socket = await dial(house)
    await socket.send(b"x" * 1_000_000)  # more than there is credit for
    socket.transport.abort()
    await until(lambda: replica.works[0].was_cancelled)
    await until(lambda: not house.router.fleet.pool().jobs)


async def test_a_replica_that_dies_closes_with_1011(house: House) -> None:
    replica = house.replica(script=echo)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        socket = await dial(house, subprotocols=["chat"])
        replica.die()
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011


async def test_a_message_over_the_limit_from_the_application_closes(house: House) -> None:
    async def one_endless(work: Work) -> None:
        accept(work)
        for _ in range(300):
            await work.stream._send_chunks(MESSAGE, b"x" * 65536, MORE, MORE)

    house.replica(script=one_endless)
    await house.start()
    async with asyncio.timeout(DEADLINE_S):
        socket = await dial(house, max_size=None)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
