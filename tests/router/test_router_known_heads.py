"""Heads that are not parsed again, and that nobody can tell from those that are."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, Final

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.link.frames import ResponseHead
from runtime.router import known_heads
from runtime.router.admission import Admission
from runtime.router.desk import Desk
from runtime.router.exchange import Exchange
from runtime.router.known_heads import KnownHeads, ReadHead
from runtime.router.plain import PATIENCE
from runtime.router.request_headers import HeaderReader
from runtime.router.routes import Route, Routes
from runtime.router.server import Server
from runtime.router.settings import DeploymentSettings, HttpSettings, ModelIdSettings
from runtime.router.sweep import Sweep
from runtime.router.tally import Tally
from tests.router.fakes import QuietTransport, RecordingLog

GET: Final = b"GET /x HTTP/1.1\r\nhost: a\r\nserve-multiplexed-model-id: 1\r\n\r\n"
POST: Final = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"


def read_of(head: bytes, keep_alive: bool = True) -> ReadHead:
    lines = [line.split(b": ") for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] if line]
    headers = [(name, value) for name, value in lines]
    return ReadHead("GET", "/", b"/", b"", "1.1", headers, HeaderReader("model").read(headers), keep_alive)


# --- the memo -------------------------------------------------------------------------------------------------


def test_a_head_is_known_once_it_has_come_twice() -> None:
    heads = KnownHeads()
    heads.learn(GET, read_of(GET), b"")
    assert heads.find(GET) is None
    heads.learn(GET, read := read_of(GET), b"")
    assert heads.find(GET) is read
    assert read.size == len(GET)
    assert heads.find(GET[:-1]) is None
    assert heads.find(GET + GET) is None
    assert heads.find(b"\r\n" + GET) is None


def test_a_head_is_known_with_any_body_of_its_length() -> None:
    heads = KnownHeads()
    for body in (b"abc", b"\r\n\r"):
        heads.learn(POST + body, read_of(POST), body)
    found = heads.find(POST + b"xyz")
    assert found is not None
    assert found.size == len(POST)
    assert [heads.find(POST + body) for body in (b"", b"xy", b"wxyz")] == [None] * 3


@pytest.mark.parametrize(
    ("data", "body", "keep_alive"),
    [
        (GET, b"", False),
        (GET[:-2], b"", True),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"", True),
        (GET[:-4] + b"\r\nx: " + b"y" * 2048 + b"\r\n\r\n", b"", True),
        (POST + b"abcd", b"bcd", True),
        (POST + b"abcd", b"abc", True),
        (GET[:-2] + b"content-length: 3\r\n\r\nabc", b"", True),
    ],
)
def test_what_is_not_one_whole_request_of_a_connection_that_stays_is_never_known(
    data: bytes, body: bytes, keep_alive: bool
) -> None:
    heads = KnownHeads()
    for _ in range(3):
        heads.learn(data, read_of(data[: len(data) - len(body)], keep_alive), body)
    assert heads.find(data) is None


def test_no_more_is_remembered_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "_LIMIT", 3)
    heads, many = KnownHeads(), [b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(40)]
    for head in many:
        heads.learn(head, read_of(head), b"")
        heads.learn(head, read_of(head), b"")
        assert heads.find(head) is not None
        assert len(heads._known) <= 3
        assert len(heads._marks) == known_heads._MARKS


# --- the protocol ---------------------------------------------------------------------------------------------


class Wire(QuietTransport):
    """Keeps what is written; what differs between any two answers is taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: Any) -> None:
        self.data += re.sub(rb"""(x-request-id: |"request_id":")\w+""", rb"\1", bytes(data))

    def writelines(self, data: Any) -> None:
        self.write(b"".join(data))

    def close(self) -> None:
        self.data += b"<close>" * (not self.closing)
        self.closing = True

    def abort(self) -> None:
        self.close()


class Connection:
    """A client's connection to a router whose pool answers at once, or with the next chunk where it is ``held``."""

    def __init__(self, remembers: bool) -> None:
        self.desk = Desk(RecordingLog())  # type: ignore[arg-type]
        self.admission = admission = Admission(self.desk, HttpSettings(), ModelIdSettings())
        settings = DeploymentSettings("Model")
        pool: Any = SimpleNamespace(settings=settings, tally=Tally(), name="Model", application="default")
        admission.routes = Routes([Route("/", pool)])
        admission.submit = self.submit  # type: ignore[method-assign]
        if not remembers:
            admission.heads.find = lambda data: None  # type: ignore[method-assign]
        self.seen: list[object] = []
        self.waiting: list[Exchange] = []
        self.held = False
        server = Server(self.app, admission, Sweep(self.desk, list))
        config = server.config
        config.load()
        self.protocol: Any = config.http_protocol_class(config=config, server_state=server.server_state, app_state={})
        self.protocol.connection_made(wire := Wire())
        self.wire = wire

    def submit(self, exchange: Exchange) -> None:
        assert exchange.request is not None
        request = exchange.request
        self.seen.append((request.method, request.raw_path, request.headers, request.model, request.body))
        if self.held:
            self.waiting.append(exchange)
        else:
            self.answer(exchange)

    def answer(self, exchange: Exchange) -> None:
        assert exchange.request is not None
        head = ResponseHead(200, [(b"content-type", b"text/plain")], "hit", body=exchange.request.body + b"!")
        exchange.head_received(head, True)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """What takes the long way."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append(("asgi", scope["method"], scope["raw_path"], scope["headers"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def feed(self, chunk: bytes, held: bool) -> None:
        """Hand over what came, and answer what waits for it. Nothing: the router stops."""
        waiting, self.waiting = self.waiting, []
        self.held = held
        if self.wire.closing:
            return
        if chunk:
            self.protocol.data_received(chunk)
        else:
            self.protocol.shutdown()
        for exchange in waiting:
            self.answer(exchange)
        for _ in range(6):  # the ASGI way takes some turns
            await asyncio.sleep(0)


MESSAGES: Final = [
    GET,
    GET.replace(b": 1", b": 2"),
    POST + b"abc",
    POST + b"xyz",
    POST[:-2] + b"connection: keep-alive\r\n\r\n123",
    b"\r\n" + GET,
    b"\r\n\r\n" + POST + b"abc",
    b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nserve-multiplexed-model-id: ../x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n1\r\n\r\nGET / H",
    b"GET /-/healthz HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"GET / HTTP/1.1\nhost: a\n\n",
    b"nonsense\r\n\r\n",
    b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(GET),
    b"",
]
STAYING: Final = MESSAGES[:8]

Step = tuple[bytes, int, bool]
"""A message, where it is cut in two (0: it comes whole, -1: together with the next, -2: behind its head), and whether
its answer waits."""


def steps(messages: list[bytes]) -> st.SearchStrategy[list[Step]]:
    cut = st.one_of(st.just(0), st.just(0), st.sampled_from((-1, -2)), st.integers(1, 70))
    return st.lists(st.tuples(st.sampled_from(messages), cut, st.booleans()), max_size=14)


async def conversation(script: list[Step], remembers: bool) -> tuple[list[object], bytes]:
    connection = Connection(remembers)
    before = b""
    for message, cut, held in script:
        data, before = before + message, b""
        cut = data.rfind(b"\r\n\r\n") + 4 if cut == -2 else cut
        if cut < 0:
            before = data
        elif 0 < cut < len(data):
            await connection.feed(data[:cut], held)
            await connection.feed(data[cut:], held)
        else:
            await connection.feed(data, held)
    for last in (before or GET, GET):  # the second has the first answered
        await connection.feed(last, False)
    connection.protocol.connection_lost(None)
    return connection.seen, connection.wire.data


@settings(max_examples=300, deadline=None)
@example(common=GET, script=[], rest=[(b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", 0, False)])  # refused, and lingering
@example(common=GET, script=[], rest=[(b"GET / HTTP/1.1\r\n", 0, False)])  # it is in a head
@example(common=GET, script=[], rest=[(GET, 0, True)])  # one is being answered
@example(common=GET, script=[(GET, -1, False), (POST + b"abc", 0, False)], rest=[])  # two in one chunk
@given(common=st.sampled_from(STAYING), script=steps(STAYING), rest=steps(MESSAGES))
def test_a_client_cannot_tell_whether_its_heads_are_known(common: bytes, script: list[Step], rest: list[Step]) -> None:
    whole = [(common, 0, False)] * 3 + script * 3 + rest
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(conversation(whole, True)) == runner.run(conversation(whole, False))


def test_a_known_head_is_not_parsed_again() -> None:
    async def talk() -> None:
        connection = Connection(remembers=True)
        for number in range(5):
            await connection.feed(GET, held=False)
            await connection.feed(POST + b"ab%d" % number, held=False)
        assert connection.protocol.begun == 4  # twice each
        assert connection.wire.data.count(b"200 OK") == 10
        assert connection.seen[-1] == ("POST", b"/", [(b"host", b"a"), (b"content-length", b"3")], "", b"ab4")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


def test_a_fault_of_the_router_is_answered_all_the_same() -> None:
    async def talk(remembers: bool) -> bytes:
        connection = Connection(remembers)
        for _ in range(3):
            await connection.feed(GET, held=False)

        def fail(exchange: Exchange) -> None:
            raise RuntimeError("a fault")

        connection.admission.submit = fail  # type: ignore[method-assign]
        await connection.feed(GET, held=False)
        assert len(connection.desk.log.errors()) == 1  # type: ignore[attr-defined]
        return connection.wire.data

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(talk(remembers=True))
        assert told == runner.run(talk(remembers=False))
        assert b"500 Internal Server Error" in told


def test_a_connection_whose_heads_are_all_new_is_not_looked_at_for_ever() -> None:
    async def talk() -> None:
        connection = Connection(remembers=True)
        looked: list[bytes] = []
        find = connection.admission.heads.find
        connection.admission.heads.find = lambda data: looked.append(data) or find(data)  # type: ignore[method-assign,func-returns-value]
        for number in (*range(PATIENCE - 1), 0, 0, *range(PATIENCE, 3 * PATIENCE)):
            await connection.feed(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number, held=False)
        assert len(looked) == (PATIENCE + 1) + (
            PATIENCE + 1
        )  # the last of the first ones was known: then again so many

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


def test_a_known_head_is_the_last_of_a_router_that_stops() -> None:
    async def talk() -> None:
        connection = Connection(remembers=True)
        for chunk, held in ((GET, False), (GET, False), (GET, False), (b"", False), (GET, True), (GET, False)):
            await connection.feed(chunk, held)
        assert connection.wire.data.count(b"200 OK") == 4
        assert connection.wire.data.count(b"connection: close") == 1
        assert connection.wire.closing

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())
