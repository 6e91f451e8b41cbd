"""When gathered frames are written, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from runtime.link.outbox import GATHERED_HEADS, Outbox

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[bytes]] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append([bytes(data)])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append([bytes(data) for data in list_of_data])

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def outbox(wire: Wire) -> Outbox:
    outbox = Outbox(asyncio.get_running_loop())
    outbox.attach(wire)
    return outbox


async def test_the_frames_of_a_turn_are_one_write_with_bodies_last(wire: Wire, outbox: Outbox) -> None:
    outbox.body(b"body")
    outbox.head(b"head")
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [[b"head", b"body"]]
    outbox.head(b"alone")
    await asyncio.sleep(0)
    assert wire.writes[1:] == [[b"alone"]]


async def test_many_heads_do_not_wait_for_the_loop_to_come_round(wire: Wire, outbox: Outbox) -> None:
    heads = [b"%d" % number for number in range(2 * GATHERED_HEADS + 1)]
    outbox.body(b"body")
    for head in heads:
        outbox.head(head)
    assert wire.writes == [[*heads[:GATHERED_HEADS], b"body"], heads[GATHERED_HEADS:-1]]
    await asyncio.sleep(0)
    assert wire.writes[2:] == [heads[-1:]]
    assert outbox.turn == 3
    outbox.head(b"next")  # the turn that found nothing more scheduled another
    await asyncio.sleep(0)
    assert wire.writes[3:] == [[b"next"]]


async def test_nothing_is_written_to_a_closing_transport(wire: Wire, outbox: Outbox) -> None:
    wire.closing = True
    outbox.head(b"head")
    await asyncio.sleep(0)
    assert wire.writes == []


async def test_a_turn_that_finds_all_written_writes_nothing(wire: Wire, outbox: Outbox) -> None:
    for _ in range(GATHERED_HEADS):
        outbox.head(b"head")
    await asyncio.sleep(0)
    assert len(wire.writes) == 1
    assert outbox.turn == 1


async def test_a_last_head_is_written_at_once_behind_what_waits(wire: Wire, outbox: Outbox) -> None:
    outbox.last(b"alone")
    assert wire.writes == [[b"alone"]]
    outbox.body(b"body")
    outbox.head(b"head")
    outbox.last(b"last")
    assert wire.writes[1:] == [[b"head", b"last", b"body"]]
    await asyncio.sleep(0)
    assert len(wire.writes) == 2
