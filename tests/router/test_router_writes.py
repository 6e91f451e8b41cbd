"""Answers that are written a moment later, and what must not overtake them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.link.control import RouteEntry
from runtime.router.guard import GuardedProtocol
from runtime.router.writes import GATHERED, Writes
from tests.router.fakes import House, QuietTransport

pytestmark = pytest.mark.anyio

NOWHERE = b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n"


class Wire(QuietTransport):
    """Remembers what is done to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data).split(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")[:3])

    def close(self) -> None:
        self.done.append("close")
        self.closing = True


Connected = tuple[GuardedProtocol, Wire]


class Connection:
    """As much of a protocol as ``Writes`` sees."""

    def __init__(self) -> None:
        self.transport = Wire()
        self.unwritten = False


@pytest.fixture
async def connected(short_dir: Path) -> AsyncIterator[Connected]:
    """A client's connection to a router that answers 404 to all."""
    house = House(short_dir)
    house.routes = [RouteEntry(name="Model", route_prefix="/api", deployment=house.deployment)]
    await house.start()
    config, state = house.router.server.config, house.router.server.server_state
    protocol: Any = config.http_protocol_class(config=config, server_state=state, app_state={})
    protocol.connection_made(wire := Wire())
    yield protocol, wire
    (wire.protocol or protocol).connection_lost(None)
    await house.stop()


async def test_answers_of_one_turn_are_written_when_the_loop_comes_round() -> None:
    writes = Writes()
    first, second = connections = [Connection(), Connection()]
    for connection in connections:
        writes.put(connection, b"HTTP/1.1 200 OK\r\n\r\n")  # type: ignore[arg-type]
        assert connection.unwritten
    second.transport.closing = True
    assert first.transport.done == []
    await asyncio.sleep(0)
    assert (first.transport.done, second.transport.done) == (["200"], [])
    assert not first.unwritten
    assert not second.unwritten
    writes.put(first, b"HTTP/1.1 404\r\n\r\n")  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert first.transport.done == ["200", "404"]


async def test_many_answers_do_not_wait_for_the_loop() -> None:
    writes, connection = Writes(), Connection()
    for _ in range(GATHERED + 1):
        writes.put(connection, b"HTTP/1.1 200 OK\r\n\r\n")  # type: ignore[arg-type]
    assert len(connection.transport.done) == GATHERED
    await asyncio.sleep(0)
    assert len(connection.transport.done) == GATHERED + 1


async def test_what_is_written_or_closed_at_once_comes_after_what_waits(connected: Connected) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE)
    assert wire.done == []
    protocol.data_received(b"this is not HTTP\r\n\r\n")
    assert wire.done == ["404", "400"]


async def test_pipelined_answers_keep_their_order(connected: Connected) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE + b"GET * HTTP/1.1\r\nhost: a\r\n\r\n")
    assert wire.done == ["404", "400"]


async def test_a_last_answer_is_written_at_once(connected: Connected) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE)
    protocol.data_received(b"GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert wire.done == ["404", "404", "close"]


@pytest.mark.parametrize("end", ["shutdown", "eof_received"])
async def test_the_end_of_a_connection_comes_after_its_answer(connected: Connected, end: str) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE)
    getattr(protocol, end)()
    assert wire.done[0] == "404"


async def test_the_sweep_comes_after_the_answer(connected: Connected) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE)
    protocol.check(protocol.clock() + 3600)
    assert wire.done == ["404", "close"]


async def test_a_refused_handshake_comes_after_the_answer_before_it(connected: Connected) -> None:
    protocol, wire = connected
    protocol.data_received(NOWHERE + b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert wire.done == ["404", "400", "close"]


async def test_two_requests_in_two_turns(connected: Connected) -> None:
    protocol, wire = connected
    for _ in range(2):
        protocol.data_received(NOWHERE)
        await asyncio.sleep(0)
    assert wire.done == ["404", "404"]
