"""Bodies of any size, both ways, with memory bounded by credit; clients, replicas and deadlines that go away."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from runtime.link.frames import Command
from runtime.link.stream import Stream
from tests.router.fakes import Client, House, Work, at_rest, until

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


async def echo(work: Work) -> None:
    """Answer with each part as it comes, and keep none."""
    work.hold_credit = True
    work.respond(b"", end=False)
    while not work.ended or work.parts:
        await until(lambda: work.parts or work.ended)
        while work.parts:
            part = work.parts.pop(0)
            await work.stream.send_body(part)
            work.stream.consumed(len(part))
    await work.stream.send_body(b"", end=True)


async def test_a_large_upload_arrives_whole(house: House) -> None:
    async def size(work: Work) -> None:
        body = await work.whole()
        work.respond(b"%d" % len(body))

    house.replica(script=size)
    await house.start()
    answer = await house.ask("POST", "/", {}, b"x" * (5 * MIB))
    assert (answer.status, answer.body) == (200, b"%d" % (5 * MIB))


async def test_a_chunked_upload_arrives_whole(house: House) -> None:
    async def size(work: Work) -> None:
        work.respond(await work.whole())

    house.replica(script=size)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"abcde"
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await client.answer()).status == 200
    await client.close()


async def test_a_large_download_arrives_whole(house: House) -> None:
    async def big(work: Work) -> None:
        work.respond(b"", end=False, headers=[(b"content-length", b"%d" % (8 * MIB))])
        for _ in range(8):
            await work.stream.send_body(b"y" * MIB)
        await work.stream.send_body(b"", end=True)

    house.replica(script=big)
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("GET", "/")
        assert len(answer.body) == 8 * MIB
    await client.close()


async def test_a_slow_reader_holds_the_replica_up_and_not_the_memory(house: House) -> None:
    progress = [0]

    async def endless(work: Work) -> None:
        work.respond(b"", end=False)
        while not work.was_cancelled:
            await work.stream.send_body(b"z" * 65536)
            progress[0] += 65536

    house.replica(script=endless)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await client.head()
    assert await at_rest(lambda: progress[0]) < 24 * MIB  # nobody reads: it comes to a stop
    client.writer.transport.abort()
    work = house.replicas[0].works[0]
    await until(lambda: work.was_cancelled, "the cancel")
    assert house.log.lines[-1]["status"] == 499


async def test_both_directions_flow_at_once(house: House) -> None:
    house.replica(script=echo)
    await house.start()
    client = await house.connect()
    size = 6 * MIB
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)

    async def upload() -> None:
        for _ in range(size // 65536):
            client.send(b"u" * 65536)
            await client.writer.drain()

    async with asyncio.timeout(20):
        _, answer = await asyncio.gather(upload(), client.answer())
    assert answer.body == b"u" * size
    await client.close()


async def test_the_first_part_arrives_before_the_last_is_sent(house: House) -> None:
    house.replica(script=echo)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.head()
    async with asyncio.timeout(5):
        assert await client.reader.readline() == b"3\r\n"
        assert await client.reader.readexactly(5) == b"abc\r\n"
    client.send(b"0\r\n\r\n")
    assert await client.chunks() == b""
    await client.close()


async def test_a_refused_upload_starts_over_elsewhere_from_its_beginning(house: House) -> None:
    refused = []

    async def once(work: Work) -> None:
        if not refused:
            refused.append(work)
            await until(lambda: work.received > 100_000)
            work.refuse("full")
            work.stream.link.command(Command("place"))
        else:
            work.respond(b"%d" % len(await work.whole()))

    house.replica(script=once)
    await house.start()
    assert (await house.ask("POST", "/", {}, b"q" * 200_000)).body == b"200000"


async def test_an_early_answer_closes_the_connection_and_still_arrives(house: House) -> None:
    async def early(work: Work) -> None:
        work.respond(b"no thanks", status=403)

    house.replica(script=early)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (50 * MIB))
    client.send(b"x" * 300_000)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (403, b"no thanks", "close")
    await client.closed()
    await client.close()


async def test_too_large_a_body_is_413_before_100_continue(house: House) -> None:
    house.http = {"max_body_bytes": 1000}
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (413, "body_too_large")
    await client.closed()
    await client.close()
    assert not house.replicas[0].works


async def test_a_chunked_body_is_counted(house: House) -> None:
    async def wait(work: Work) -> None:
        await until(lambda: work.was_cancelled or work.ended)

    house.http = {"max_body_bytes": 1000}
    house.replica(script=wait)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"a" * 500 + b"\r\n")
    await until(lambda: house.replicas[0].works)
    client.send(b"1f5\r\n" + b"b" * 501 + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (413, "body_too_large")
    await client.close()


async def test_100_continue_is_said_once_the_request_is_dispatched(house: House) -> None:
    async def size(work: Work) -> None:
        work.respond(await work.whole())

    house.replica(script=size)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(b"hello")
    assert (await client.answer()).body == b"hello"
    await client.close()


async def test_a_client_that_leaves_cancels(house: House) -> None:
    async def never(work: Work) -> None:
        await until(lambda: work.was_cancelled)

    replica = house.replica(script=never)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
    await until(lambda: replica.works)
    await client.close()
    await until(lambda: replica.works[0].was_cancelled)
    assert house.log.lines[-1]["status"] == 499
    await until(lambda: not house.router.fleet.pool().jobs)


async def test_a_replica_that_dies_with_a_cancelled_request_leaves_nothing(house: House) -> None:
    class Deaf(Work):
        def cancelled(self, stream: Stream) -> None:
            self.was_cancelled = True

    replica = house.replica(script=lambda work: until(lambda: work.was_lost), work=Deaf)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: replica.works)
    await client.close()
    await until(lambda: replica.works[0].was_cancelled)
    pool = house.router.fleet.pool()
    assert len(pool.jobs) == 1  # it holds its place until the replica has let go
    replica.die()
    await until(lambda: not pool.jobs)
    assert not pool._cancelled


async def test_a_large_head_beside_a_full_first_part_is_sent_apart(house: House) -> None:
    async def size(work: Work) -> None:
        work.respond(b"%d" % len(await work.whole()))

    replica = house.replica(script=size)
    await house.start()
    answer = await house.ask("POST", "/" + "p" * 8000, {"cookie": "c" * 56_000}, b"x" * 65536)
    assert (answer.status, answer.body) == (200, b"65536")
    assert len(dict(replica.works[0].head_.headers)[b"cookie"]) == 56_000


async def test_a_client_that_leaves_while_its_upload_is_stuck_cancels(house: House) -> None:
    async def stuck(work: Work) -> None:
        work.hold_credit = True
        await until(lambda: work.was_cancelled)

    replica = house.replica(script=stuck)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (2 * MIB) + b"x" * MIB)
    await until(lambda: replica.works and replica.works[0].received >= 256 * 1024)
    client.writer.transport.abort()
    await until(lambda: replica.works[0].was_cancelled, "the sweep to see it")


async def test_a_deadline_is_408_and_cancels(house: House) -> None:
    async def never(work: Work) -> None:
        await until(lambda: work.was_cancelled)

    replica = house.replica(script=never)
    await house.start()
    answer = await house.ask("GET", "/", {"x-request-timeout-seconds": "0.05"})
    assert (answer.status, answer.json()["error"]) == (408, "request_timeout")
    assert 0 < replica.works[0].head_.time_left_ms <= 50
    await until(lambda: replica.works[0].was_cancelled)
    assert (await house.ask("GET", "/", {"x-request-timeout-seconds": "soon"})).status == 400


async def test_the_client_may_only_shorten_the_configured_timeout(house: House) -> None:
    async def never(work: Work) -> None:
        await until(lambda: work.was_cancelled)

    house.deployment["request_timeout_s"] = 0.05
    house.replica(script=never)
    await house.start()
    assert (await house.ask("GET", "/", {"x-request-timeout-seconds": "100"})).status == 408


async def test_a_replica_that_dies_mid_request_is_502(house: House) -> None:
    replica = house.replica(script=lambda work: until(lambda: work.was_lost))
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
    await until(lambda: replica.works)
    replica.die()
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (502, "replica_died")
    await client.close()


async def test_a_safe_request_is_tried_once_elsewhere(house: House) -> None:
    first = house.replica(script=lambda work: until(lambda: work.was_lost))
    second = house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await until(lambda: first.works or second.works)
    if first.works:
        first.die()
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"ok")
    await client.close()


async def test_a_replica_that_dies_mid_answer_closes_the_connection(house: House) -> None:
    async def half(work: Work) -> None:
        work.respond(b"half", end=False)

    replica = house.replica(script=half)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await client.head()
    replica.die()
    assert (await client.closed()) == b"4\r\nhalf\r\n"  # and no end of the chunks
    await client.close()


async def test_an_abort_after_a_partial_answer_closes_the_connection(house: House) -> None:
    async def half(work: Work) -> None:
        work.respond(b"half", end=False, headers=[(b"content-length", b"8")])
        await work.stream.send_body(b"1")
        work.abort()

    house.replica(script=half)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await client.head()
    assert len(await client.closed()) < 8
    await client.close()


async def test_an_answer_streamed_to_http_1_0_ends_with_the_connection(house: House) -> None:
    async def parts(work: Work) -> None:
        work.respond(b"a", end=False)
        await work.stream.send_body(b"b", end=True)

    house.replica(script=parts)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    if house.fast:
        _, pairs = await client.head()
        assert "transfer-encoding" not in dict(pairs)
        assert await client.closed() == b"ab"
    await client.close()


async def test_100_mb_up_and_down_keep_memory_flat(house: House) -> None:
    process = psutil.Process()
    house.replica(script=echo)
    await house.start()
    client = await house.connect()
    size = 100 * MIB
    before = peak = process.memory_info().rss
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
    chunk = b"u" * 262144

    async def upload() -> None:
        for _ in range(size // len(chunk)):
            client.send(chunk)
            await client.writer.drain()

    async def download(client: Client) -> int:
        nonlocal peak
        await client.head()
        total = 0
        while n := int(await client.reader.readline(), 16):
            total += len(await client.reader.readexactly(n))
            await client.reader.readexactly(2)
            peak = max(peak, process.memory_info().rss)
        return total

    async with asyncio.timeout(60):
        _, total = await asyncio.gather(upload(), download(client))
    assert total == size
    assert peak - before < 30 * MIB
    await client.close()
