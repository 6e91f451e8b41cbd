"""What hostile or broken clients and applications do. Each test is one fault that was found in a server."""

from __future__ import annotations

import pytest

from tests.router.fakes import House, Work, until

pytestmark = pytest.mark.anyio


async def exchange(house: House, raw: bytes) -> tuple[int, bytes]:
    """Send bytes, wait for the router to close; return the first status and everything that came."""
    client = await house.connect()
    client.send(raw)
    got = await client.closed()
    await client.close()
    return int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/1.1 ") else 0, got


def answering(**answer: object) -> object:
    async def script(work: Work) -> None:
        work.respond(**answer)  # type: ignore[arg-type]

    return script


# --- clients ----------------------------------------------------------------------------------------------


async def test_trailers_do_not_become_headers(house: House) -> None:
    async def whole(work: Work) -> None:
        await work.whole()
        work.respond()

    replica = house.replica(script=whole)
    await house.start()
    client = await house.connect()
    client.send(
        b"POST / HTTP/1.1\r\nhost: a\r\nserve_multiplexed_model_id: good\r\ntransfer-encoding: chunked\r\n"
        b"trailer: serve_multiplexed_model_id, authorization\r\n\r\n"
        b"1\r\nx\r\n0\r\nserve_multiplexed_model_id: evil\r\nauthorization: admin\r\n\r\n"
    )
    assert (await client.answer()).status == 200
    head = replica.works[0].head_
    assert head.model == "good"
    assert not [name for name, _ in head.headers if name == b"authorization"]
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")  # and the next request is a clean one
    assert (await client.answer()).status == 200
    assert replica.works[1].head_.model == ""
    await client.close()


async def test_content_length_beside_transfer_encoding_is_refused(house: House) -> None:
    house.replica()
    await house.start()
    status, got = await exchange(
        house,
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    assert status == 400
    assert got.count(b"content-length:") == 1
    assert not house.replicas[0].works


async def test_two_content_lengths_are_refused(house: House) -> None:
    house.replica()
    await house.start()
    raw = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde"
    assert (await exchange(house, raw))[0] == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    ],
    ids=["missing", "doubled"],
)
async def test_a_host_header_is_needed_exactly_once(house: House, raw: bytes) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (400, "bad_request")
    await client.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 3_000_000,  # never ends
    ],
    ids=["url", "value", "count", "endless"],
)
async def test_a_head_over_64_kib_is_431(house: House, raw: bytes) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (431, "head_too_large")
    await client.closed()
    await client.close()
    assert not house.replicas[0].works


async def test_a_head_that_only_fits_http_is_431_too(house: House) -> None:
    """Thousands of tiny headers grow on the link: the frame's limit counts."""
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET /" + b"a" * 30_000 + b" HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 5000 + b"\r\n")
    assert (await client.answer()).status == 431
    await client.close()


async def test_half_a_head_is_given_10_seconds(house: House) -> None:
    house.http = {"head_timeout_s": 0.05}
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
    answer = await client.answer()
    assert (answer.status, answer.json()["error"]) == (408, "request_timeout")
    await client.closed()
    await client.close()


@pytest.mark.parametrize("size", [100, 1_000_000], ids=["small", "large"])
async def test_a_body_that_stops_coming_is_408(house: House, size: int) -> None:
    async def whole(work: Work) -> None:
        await until(lambda: work.was_cancelled or work.ended)

    house.http = {"body_idle_s": 0.05}
    house.replica(script=whole)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\nabc" % size)
    answer = await client.answer()
    assert (answer.status, answer.json()["error"], answer.headers["connection"]) == (408, "request_timeout", "close")
    await client.closed()
    await client.close()


async def test_an_idle_connection_is_closed(house: House) -> None:
    house.http = {"keep_alive_s": 0.05}
    house.replica()
    await house.start()
    client = await house.connect()
    await client.ask("GET", "/")
    assert await client.closed() == b""
    await client.close()


async def test_garbage_is_400(house: House) -> None:
    house.replica()
    await house.start()
    status, got = await exchange(house, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
    assert status == 400
    assert b"bad_request" in got


async def test_garbage_behind_a_request_does_not_spoil_its_answer(house: House) -> None:
    gate = []

    async def later(work: Work) -> None:
        await until(lambda: gate)
        work.respond(b"good")

    house.replica(script=later)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n\x00\x01garbage\r\n\r\n")
    await until(lambda: house.replicas[0].works)
    gate.append(1)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"good")
    assert await client.closed() == b""
    await client.close()


async def test_broken_chunks_end_the_request(house: House) -> None:
    async def whole(work: Work) -> None:
        await until(lambda: work.was_cancelled or work.ended)

    replica = house.replica(script=whole)
    await house.start()
    client = await house.connect()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await until(lambda: replica.works)
    client.send(b"zz\r\n")
    assert (await client.answer()).status == 400
    await client.closed()
    await client.close()
    await until(lambda: replica.works[0].was_cancelled)


@pytest.mark.parametrize("target", [b"*", b"example.com:443", b"/\xff"], ids=["star", "authority", "bytes"])
async def test_a_target_that_is_no_path_is_400(house: House, target: bytes) -> None:
    house.replica()
    await house.start()
    method = b"CONNECT" if b":" in target else b"OPTIONS"
    status, _ = await exchange(house, method + b" " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert status == 400


async def test_an_absolute_target_is_its_path(house: House) -> None:
    replica = house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET http://elsewhere/x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await client.answer()).status == 200
    assert replica.works[0].head_.path == "/x"
    await client.close()


async def test_an_upgrade_nobody_offers_is_ignored(house: House) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n"
    )
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert not [name for name, _ in house.replicas[0].works[0].head_.headers if name != b"host"]
    await client.close()


async def test_hop_by_hop_headers_do_not_travel(house: House) -> None:
    replica = house.replica()
    await house.start()
    await house.ask(
        "GET", "/", {"connection": "keep-alive, X-Secret", "x-secret": "1", "te": "trailers", "x-kept": "1"}
    )
    names = {name for name, _ in replica.works[0].head_.headers}
    assert names == {b"host", b"x-kept"}


async def test_ten_thousand_pipelined_requests_do_not_nest(house: House) -> None:
    """Answers that are ready at once must not recurse into the next request."""
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET /%ff HTTP/1.1\r\n\r\n" * 2000)
    for _ in range(2000):
        assert (await client.answer()).status == 400
    await client.close()


@pytest.mark.parametrize("model", ["../../etc/passwd", "a" * 201, "a b", "a\tb", "\x7f", "é", "/a", "a//b", "-/../x"])
async def test_a_bad_model_id_is_400(house: House, model: str) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nserve_multiplexed_model_id: " + model.encode() + b"\r\n\r\n")
    answer = await client.answer()
    assert answer.status == 400
    assert answer.json()["error"] in ("bad_model_id", "bad_request")
    await client.close()
    assert not house.replicas[0].works


@pytest.mark.parametrize("value", ["<script>", "a" * 129, "a b", ""])
async def test_an_unsafe_request_id_is_replaced(house: House, value: str) -> None:
    house.replica()
    await house.start()
    answer = await house.ask("GET", "/", {"x-request-id": value})
    assert answer.headers["x-request-id"] != value
    assert len(answer.headers["x-request-id"]) == 10
    assert (await house.ask("GET", "/", {"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"


# --- applications -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_after_204_or_304_is_dropped(house: House, status: int) -> None:
    house.replica(
        script=answering(body=b"HTTP/1.1 200 OK\r\n\r\n", status=status, headers=[(b"content-length", b"19")])
    )
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("GET", "/")
        assert answer.status == status
        assert "content-length" not in answer.headers
        assert "transfer-encoding" not in answer.headers
    await client.close()


async def test_a_streamed_body_after_204_is_dropped(house: House) -> None:
    async def script(work: Work) -> None:
        work.respond(b"abc", status=204, end=False)
        await work.stream.send_body(b"def", end=True)

    house.replica(script=script)
    await house.start()
    client = await house.connect()
    for _ in range(2):
        assert (await client.ask("GET", "/")).status == 204
    await client.close()


async def test_head_has_no_body_and_keeps_its_length(house: House) -> None:
    house.replica(script=answering(body=b"12345"))
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("HEAD", "/")
        assert (answer.status, answer.headers["content-length"]) == (200, "5")
    assert (await client.ask("GET", "/")).body == b"12345"
    await client.close()


async def test_an_error_answer_to_head_has_no_body(house: House) -> None:
    house.replica()
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("HEAD", "/", {"serve_multiplexed_model_id": "a b"})
        assert answer.status == 400
    await client.close()


async def test_an_applications_hop_by_hop_and_x_mux_headers_are_stripped(house: House) -> None:
    headers = [
        (b"Connection", b"close, x-own"), (b"Transfer-Encoding", b"chunked"), (b"Keep-Alive", b"1"), (b"x-own", b"1"),
        (b"X-Mux-Replica", b"fake"), (b"x-mux-anything", b"1"), (b"X-Request-Id", b"fake"), (b"x-kept", b"1"),
        (b"Upgrade", b"h2c"),
    ]  # fmt: skip
    house.replica(script=answering(body=b"abc", headers=headers))
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("GET", "/")
        assert answer.body == b"abc"
        assert answer.headers["x-mux-replica"] == "Model#r0"
        assert answer.headers["x-request-id"] != "fake"
        assert answer.headers["x-kept"] == "1"
        assert not {"connection", "transfer-encoding", "keep-alive", "x-own", "upgrade", "x-mux-anything"} & set(
            answer.headers
        )
    await client.close()


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: evil=1"), (b"x", b"a\nb"), (b"x", b"a\0b"), (b"x\r\ny", b"1"), (b"x y", b"1"),
        (b"", b"1"), (b"x:", b"1"), (b"content-length", b"2, 2"), (b"content-length", b"-1"),
    ],
    ids=["crlf", "lf", "nul", "name-crlf", "name-space", "name-empty", "name-colon", "length-list", "length-negative"],
)  # fmt: skip
async def test_a_header_that_could_split_the_answer_is_500(house: House, header: tuple[bytes, bytes]) -> None:
    house.replica(script=answering(body=b"ok", headers=[header]))
    await house.start()
    client = await house.connect()
    for _ in range(2):
        answer = await client.ask("GET", "/")
        assert (answer.status, answer.json()["error"]) == (500, "user_code_failed")
        assert "set-cookie" not in answer.headers
    await client.close()


async def test_two_lengths_from_an_application_are_500(house: House) -> None:
    house.replica(script=answering(body=b"ok", headers=[(b"content-length", b"2"), (b"Content-Length", b"3")]))
    await house.start()
    assert (await house.ask()).status == 500


@pytest.mark.parametrize("status", [0, 99, 101, 600, 1000])
async def test_an_impossible_status_is_500(house: House, status: int) -> None:
    house.replica(script=answering(status=status))
    await house.start()
    assert (await house.ask()).status == 500


@pytest.mark.parametrize("length", [1, 5])
async def test_a_wrong_length_in_one_frame_is_500(house: House, length: int) -> None:
    house.replica(script=answering(body=b"abc", headers=[(b"content-length", b"%d" % length)]))
    await house.start()
    client = await house.connect()
    for _ in range(2):
        assert (await client.ask("GET", "/")).status == 500
    await client.close()


@pytest.mark.parametrize("length", [4, 8])
async def test_a_wrong_length_over_several_frames_closes_the_connection(house: House, length: int) -> None:
    async def script(work: Work) -> None:
        work.respond(b"abc", headers=[(b"content-length", b"%d" % length)], end=False)
        await work.stream.send_body(b"def", end=True)

    house.replica(script=script)
    await house.start()
    client = await house.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
    status, pairs = await client.head()
    assert (status, dict(pairs)["content-length"]) == (200, str(length))
    assert await client.closed() == b"abc"
    await client.close()


async def test_a_fault_of_ours_is_500_and_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.replica()
    await house.start()
    house.router.admission.routes = None  # type: ignore[assignment]
    answer = await house.ask()
    assert answer.status == 500
    assert "AttributeError" in (house.log.errors()[0] if house.fast else caplog.text)
