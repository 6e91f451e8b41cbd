from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.errors import LinkLost
from runtime.link import frames
from runtime.link.connection import Link
from runtime.link.credit import CreditBudget
from runtime.link.endpoint import connect, listen, parse_address
from runtime.link.frames import (
    ABORT,
    BODY,
    BODY_CHUNK,
    CANCEL,
    CLOSE,
    END,
    INITIAL_WINDOW,
    MAX_STREAM,
    MESSAGE,
    MORE,
    REQUEST,
    RESPONSE,
    TEXT,
    Command,
    ModelHead,
    Reply,
    State,
)
from runtime.link.handlers import NOBODY
from runtime.link.outbox import FEW
from runtime.link.stream import StreamEnded, StreamStopped
from tests.link.fakes import RecordingLink, RecordingStream, hello, link_pair, until

pytestmark = pytest.mark.anyio


async def test_a_small_request_is_one_frame_each_way(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked = RecordingStream()
        link.open(REQUEST, b"head", asked, END)
        await until(lambda: replica.streams)
        served, _, kind, payload, flags = replica.streams[0]
        assert (kind, payload, flags) == (REQUEST, b"head", END)
        served.send(RESPONSE, b"answer", END)
        await until(lambda: asked.heads)
        assert asked.heads == [(RESPONSE, b"answer", END)]
        assert not link.streams
        assert not replica.links[0].streams


async def test_with_few_streams_under_way_whole_halves_do_not_wait_for_others(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        for number in range(FEW + 2):
            turn = link.outbox.turn
            link.open(REQUEST, b"", RecordingStream(), END)
            assert link.outbox.turn == turn + (number < FEW)
        turn = link.outbox.turn
        await until(lambda: len(replica.streams) == FEW + 2)
        assert link.outbox.turn == turn + 1  # those that waited, together
        theirs = replica.links[0].outbox
        for number in range(FEW + 2):
            turn = theirs.turn
            replica.streams[number][0].send(RESPONSE, b"", END)
            assert theirs.turn == turn + (number >= 2)
        await until(lambda: not link.streams)


async def test_what_is_followed_by_more_waits_for_it(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        turn = link.outbox.turn
        link.open(REQUEST, b"", RecordingStream()).send_body_now(b"body", True)
        assert link.outbox.turn == turn
        await until(lambda: replica.streams and replica.streams[0][1].ended)
        assert link.outbox.turn == turn + 1


async def test_five_megabytes_echo_both_ways_at_once(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked, data = RecordingStream(), bytes(range(256)) * 20_000
        stream = link.open(REQUEST, b"", asked)
        await until(lambda: replica.streams)
        served, echo, *_ = replica.streams[0]
        served.send(RESPONSE, b"")

        async def answer() -> None:
            sent = 0
            while sent < len(data):
                await until(lambda seen=sent: len(echo.data) > seen)
                part = bytes(echo.data[sent:])
                await served.send_body(part)
                sent += len(part)
            await served.send_body(b"", end=True)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(stream.send_body(data, end=True))
            group.create_task(answer())
        await until(lambda: asked.ended)
        assert asked.data == data
        assert not link.streams


async def test_a_sender_waits_for_credit_and_windows_grow(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, _, replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        await until(lambda: replica.streams)
        served, held, *_ = replica.streams[0]
        sending = asyncio.ensure_future(stream.send_body(bytes(3 * INITIAL_WINDOW), end=True))
        await until(lambda: len(held.data) == INITIAL_WINDOW)
        assert not sending.done()
        assert not stream.send_body_now(b"x")
        served.consumed(INITIAL_WINDOW)
        await sending
        await until(lambda: held.ended)
        assert len(held.data) == 3 * INITIAL_WINDOW, "the window doubled after it was used up once"


async def test_windows_stay_small_without_a_budget(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, _, replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        await until(lambda: replica.streams)
        served, held, *_ = replica.streams[0]
        replica.links[0].budget = CreditBudget(0)
        sending = asyncio.ensure_future(stream.send_body(bytes(3 * INITIAL_WINDOW), end=True))
        await until(lambda: len(held.data) == INITIAL_WINDOW)
        served.consumed(INITIAL_WINDOW)
        await until(lambda: len(held.data) == 2 * INITIAL_WINDOW)
        assert not sending.done()
        served.consumed(INITIAL_WINDOW)
        await sending


async def test_growth_goes_back_to_the_budget(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        replica.links[0].budget = budget = CreditBudget(10 * INITIAL_WINDOW)
        stream = link.open(REQUEST, b"", RecordingStream())
        await stream.send_body(bytes(8 * INITIAL_WINDOW), end=True)
        await until(lambda: replica.streams[0][1].ended)
        assert budget.left == 7 * INITIAL_WINDOW
        replica.streams[0][0].send(RESPONSE, b"", END)
        assert budget.left == 10 * INITIAL_WINDOW


async def test_overdrawn_credit_closes_the_link(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, router, _replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        for _ in range(INITIAL_WINDOW // BODY_CHUNK + 1):
            link.outbox.body(frames.frame(BODY, stream.id, bytes(BODY_CHUNK)))
        await until(lambda: router.goneaway)
        assert "more than it had credit for" in router.goneaway[0]


async def test_heads_do_not_overtake_the_body_of_their_stream(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked = RecordingStream()
        link.open(REQUEST, b"", asked, END)
        await until(lambda: replica.streams)
        served = replica.streams[0][0]
        served.send(frames.RESULT, b"first")
        assert served.send_body_now(b"abc")
        served.send(frames.RESULT, b"second", END)
        await until(lambda: len(asked.heads) == 2)
        assert bytes(asked.data) == b"abc"


async def test_what_is_sent_may_change_at_once(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        buffer = bytearray(b"a" * INITIAL_WINDOW)
        await stream.send_body(memoryview(buffer), end=True)
        buffer[:] = b"b" * INITIAL_WINDOW
        await until(lambda: replica.streams and replica.streams[0][1].ended)
        assert replica.streams[0][1].data == b"a" * INITIAL_WINDOW


async def test_an_ended_stream_lets_its_handler_go(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked = RecordingStream()
        stream = link.open(REQUEST, b"", asked, END)
        await until(lambda: replica.streams)
        served = replica.streams[0][0]
        assert (stream.handler, served.handler) == (asked, replica.streams[0][1])
        served.send(RESPONSE, b"", END)
        await until(lambda: asked.heads)
        assert stream.handler is served.handler is NOBODY
        NOBODY.head(stream, RESPONSE, memoryview(b""), END)
        NOBODY.body(stream, b"", True)
        NOBODY.stopped(stream)
        NOBODY.cancelled(stream)
        NOBODY.lost(stream)


async def test_messages_and_their_close_stay_in_order(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked = RecordingStream()
        link.open(REQUEST, b"", asked)
        await until(lambda: replica.streams)
        served = replica.streams[0][0]
        await served.send_message(bytes(BODY_CHUNK + 1), text=False)
        await served.send_message(b"hi", text=True)
        served.close_message(b"bye")
        await until(lambda: len(asked.heads) == 4)
        assert [(kind, flags) for kind, _, flags in asked.heads] == [
            (MESSAGE, MORE), (MESSAGE, 0), (MESSAGE, TEXT), (CLOSE, END),
        ]  # fmt: skip


async def test_cancel_reaches_the_acceptor_and_its_abort_ends_the_stream(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        asked = RecordingStream()
        stream = link.open(REQUEST, b"", asked)
        stream.cancel()
        await until(lambda: replica.streams and replica.streams[0][1].was_cancelled)
        assert link.streams, "the number stays taken until the terminal frame"
        replica.streams[0][0].send(ABORT, b"gone")
        await until(lambda: asked.heads)
        assert not link.streams
        with pytest.raises(StreamEnded):
            stream.send(REQUEST)


async def test_stop_ends_the_sender(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, _, replica):
        asked = RecordingStream()
        stream = link.open(REQUEST, b"", asked)
        sending = asyncio.ensure_future(stream.send_body(bytes(2 * INITIAL_WINDOW)))
        await until(lambda: replica.streams and len(replica.streams[0][1].data) == INITIAL_WINDOW)
        replica.streams[0][0].stop()
        with pytest.raises(StreamStopped):
            await sending
        assert asked.was_stopped


async def test_an_early_answer_ends_a_waiting_upload(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, _, replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        sending = asyncio.ensure_future(stream.send_body(bytes(2 * INITIAL_WINDOW)))
        await until(lambda: replica.streams and len(replica.streams[0][1].data) == INITIAL_WINDOW)
        replica.streams[0][0].send(RESPONSE, b"413", END)
        with pytest.raises(StreamEnded):
            await sending


async def test_a_lost_link_loses_its_streams_and_senders(short_dir: Path) -> None:
    async with link_pair(short_dir, hold=True) as (link, router, replica):
        asked = RecordingStream()
        stream = link.open(REQUEST, b"", asked)
        sending = asyncio.ensure_future(stream.send_body(bytes(2 * INITIAL_WINDOW)))
        await until(lambda: replica.streams)
        replica.links[0].close("crash")
        with pytest.raises(LinkLost):
            await sending
        await until(lambda: router.lost_why)
        assert asked.was_lost
        assert replica.streams[0][1].was_lost
        with pytest.raises(LinkLost):
            link.open(REQUEST, b"", asked)
        with pytest.raises(LinkLost):
            await link.ping(1)


async def test_commands_replies_states_and_pings_cross(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, router, replica):
        link.command(Command("want", "1", "cold", 0.5, 3))
        replica.links[0].command(Command("place"))
        replica.links[0].reply(Reply(7, True, "done"))
        assert await link.ping(5) < 5
        await until(lambda: replica.commands and router.commands and router.replies)
        assert replica.commands == [Command("want", "1", "cold", 0.5, 3)]
        assert router.replies == [Reply(7, True, "done")]


async def test_a_state_over_the_frame_limit_goes_in_parts(short_dir: Path) -> None:
    async with link_pair(short_dir) as (_link, router, replica):
        models = [ModelHead(f"{'m' * 190}{number}", "resident") for number in range(4000)]
        replica.links[0].send_state(State(1, True, models))
        await until(lambda: sum(len(state.models) for state in router.states) == 4000)
        assert [state.snapshot for state in router.states].count(True) == 1
        assert router.states[0].snapshot
        assert [model for state in router.states for model in state.models] == models


async def test_stream_numbers_wrap_and_skip_live_ones(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        first = link.open(REQUEST, b"", RecordingStream())
        assert first.id == 1
        link._next_stream = MAX_STREAM
        assert link.open(REQUEST, b"", RecordingStream()).id == MAX_STREAM
        assert link.open(REQUEST, b"", RecordingStream()).id == 3
        await until(lambda: replica.links)
        assert replica.links[0].open(REQUEST, b"", RecordingStream()).id == 2


async def test_a_wrong_token_is_turned_away_with_the_reason(short_dir: Path) -> None:
    with pytest.raises(LinkLost, match="the token is wrong"):
        async with link_pair(short_dir, token="guess"):
            pass


async def test_another_version_is_turned_away(short_dir: Path) -> None:
    server = await listen(f"unix:{short_dir / 's'}", lambda: hello("replica"), RecordingLink(), token="")
    with pytest.raises(LinkLost, match="not mux 1"):
        await connect(f"unix:{short_dir / 's'}", hello("router", version=2), RecordingLink())
    server.close()
    await until(lambda: not server.links)


async def test_nobody_there_is_a_lost_link(short_dir: Path) -> None:
    with pytest.raises(LinkLost, match="no link to"):
        await connect(f"unix:{short_dir / 'nobody'}", hello("router"), RecordingLink())


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frames.frame(REQUEST, 1, b""), "a stream before the hello"),
        (frames.frame(frames.PING, 0, b"12345678"), "no hello yet"),
        (frames.HEADER.pack(10**9, 1, BODY, 0), "over its limit"),
        (frames.frame(frames.HELLO, 0, b"\xc0"), "bad Hello head"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_and_closed(short_dir: Path, sent: bytes, why: str) -> None:
    handler = RecordingLink()
    server = await listen(f"unix:{short_dir / 's'}", lambda: hello("replica"), handler, token="")
    reader, writer = await asyncio.open_unix_connection(short_dir / "s")
    writer.write(sent)
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert why.encode() in answer
    writer.close()
    server.close()
    await until(lambda: not server.links)
    assert not handler.lost_why, "it never connected, so it is not lost"


async def test_a_silent_peer_is_closed_at_the_hello_deadline(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.link.connection.HELLO_TIMEOUT_S", 0.01)
    server = await listen(f"unix:{short_dir / 's'}", lambda: hello("replica"), RecordingLink(), token="")
    reader, writer = await asyncio.open_unix_connection(short_dir / "s")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    server.close()
    await until(lambda: not server.links)


async def test_reopening_a_live_stream_breaks_the_protocol(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, router, _replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        link.outbox.head(frames.frame(REQUEST, stream.id, b""))
        await until(lambda: router.goneaway)
        assert "cannot be opened" in router.goneaway[0]


async def test_late_frames_of_an_ended_stream_are_ignored(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        stream = link.open(REQUEST, b"", RecordingStream())
        await until(lambda: replica.streams)
        replica.streams[0][0].send(RESPONSE, b"", END)
        link.outbox.head(frames.frame(CANCEL, stream.id))
        link.outbox.body(frames.frame(BODY, stream.id, b"late"))
        assert await link.ping(5) < 5
        assert isinstance(link, Link)
        assert link.alive


@pytest.mark.parametrize("address", ["", "unix:", "tcp:host", "tcp::1", "http://x"])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(address)


def test_addresses() -> None:
    assert parse_address("unix:/run/x.sock") == ("unix", "/run/x.sock", 0)
    assert parse_address("tcp:[::1]:99") == ("tcp", "::1", 99)


async def test_a_link_crosses_tcp() -> None:
    replica = RecordingLink()
    server = await listen("tcp:127.0.0.1:0", lambda: hello("replica"), replica, token="")
    port = server.port
    link = await connect(f"tcp:127.0.0.1:{port}", hello("router"), RecordingLink())
    assert link.peer.id == "replica-0"
    link.close("done")
    server.close()
    await until(lambda: not server.links and not link.alive)
