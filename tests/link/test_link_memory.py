"""Segments: filled once, read in place, used again only when nobody has anything on them, gone with their owner."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runtime.link.endpoint import connect, listen
from runtime.link.frames import MemoryHead, encode_head
from runtime.link.memory import HAS_SEGMENTS, IDLE_S, LARGEST, MIB, SMALLEST, Memory, Segment, borrow
from tests.link.fakes import RecordingLink, hello, link_pair, until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not HAS_SEGMENTS, reason="needs memfd_create")]


class Clock:
    """What a ``Memory`` needs of a loop, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[_Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: object) -> _Timer:
        timer = _Timer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.at <= self.now and not timer.cancelled]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            timer.callback()  # type: ignore[operator]


class _Timer:
    def __init__(self, at: float, callback: object) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Iterator[Memory]:
    made = Memory(clock, 8 * MIB)  # type: ignore[arg-type]
    yield made
    made.close()
    for segment in list(made.segments):
        made.give_back(segment)


def lend(memory: Memory, size: int = MIB) -> Segment:
    segment = memory.lend("Model", [size])
    assert segment is not None
    return segment


def filled(segment: Segment, *parts: bytes) -> MemoryHead:
    return segment.fill([memoryview(part) for part in parts])


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_parts_lie_where_the_reader_finds_them(memory: Memory) -> None:
    parts = [b"a" * 1000, b"", b"b" * (5 * MIB), b"c"]
    segment = memory.lend("Model", [len(part) for part in parts])
    assert segment is not None
    read = borrow(filled(segment, *parts), [len(part) for part in parts])
    assert [bytes(part) for part in read] == parts
    assert not any(part.readonly for part in read)


async def test_a_segment_is_used_again_only_when_the_readers_last_part_has_gone(memory: Memory) -> None:
    first = lend(memory)
    [read] = borrow(filled(first, b"1" * MIB), [MIB])
    piece = read[10:20]
    del read
    memory.give_back(first)
    second = lend(memory)
    assert second is not first
    filled(second, b"2" * MIB)
    assert bytes(piece) == b"1" * 10
    del piece
    memory.give_back(second)
    assert {lend(memory), lend(memory)} == {first, second}


async def test_what_is_lent_is_not_lent_twice(memory: Memory) -> None:
    assert lend(memory) is not lend(memory)


async def test_a_late_reader_of_a_segment_that_is_used_again_is_told(memory: Memory) -> None:
    segment = lend(memory)
    old = filled(segment, b"1" * MIB)
    memory.give_back(segment)
    assert lend(memory) is segment
    before = open_files()
    with pytest.raises(OSError, match="something else"):
        borrow(old, [MIB])
    assert open_files() == before


async def test_a_reference_that_leads_nowhere_is_an_os_error(memory: Memory, tmp_path: Path) -> None:
    segment = lend(memory)
    head = filled(segment, b"1" * MIB)
    with (tmp_path / "file").open("w+b") as other, pytest.raises(OSError, match="Invalid argument"):
        borrow(msgspec.structs.replace(head, descriptor=other.fileno()), [MIB])
    with pytest.raises(OSError, match="no segment"):
        borrow(msgspec.structs.replace(head, size=head.size + 1), [MIB])
    with pytest.raises(OSError, match="something else"):
        borrow(head, [head.size])
    with pytest.raises(FileNotFoundError):
        borrow(msgspec.structs.replace(head, descriptor=10**6), [MIB])


async def test_memory_is_bounded_and_idle_segments_make_room(memory: Memory) -> None:
    small = [lend(memory, MIB) for _ in range(3)]
    assert sum(segment.size for segment in small) == 6 * MIB
    assert memory.lend("Model", [4 * MIB]) is None
    [held] = borrow(filled(small[0], b"1" * MIB), [MIB])
    for segment in small:
        memory.give_back(segment)
    assert lend(memory, 5 * MIB).size == 6 * MIB
    assert memory.segments[0] is small[0], "one that is being read is not taken away"
    assert sum(segment.size for segment in memory.segments) <= 8 * MIB
    assert bytes(held[:3]) == b"111"


async def test_too_little_too_much_and_out_of_reach_go_as_body(memory: Memory) -> None:
    assert memory.lend("Model", [SMALLEST - 1]) is None
    assert memory.lend("Model", [LARGEST, 1]) is None
    memory.unreachable.add("Far")
    assert memory.lend("Far", [MIB]) is None
    assert memory.lend("Model", [MIB]) is not None


async def test_idle_segments_are_given_back_to_the_system(memory: Memory, clock: Clock) -> None:
    before = open_files()
    first, second = lend(memory), lend(memory)
    memory.give_back(first)
    clock.advance(IDLE_S / 2)
    memory.give_back(second)
    clock.advance(IDLE_S / 2)
    assert memory.segments == [second]
    clock.advance(IDLE_S)
    assert memory.segments == []
    assert not clock.timers
    assert open_files() == before


async def test_closing_leaves_what_a_call_is_filling_until_it_is_given_back(memory: Memory) -> None:
    before = open_files()
    idle, busy = lend(memory), lend(memory)
    memory.give_back(idle)
    memory.close()
    assert memory.segments == [busy]
    assert memory.lend("Model", [MIB]) is None
    memory.give_back(busy)
    assert open_files() == before


READER = """
import sys, msgspec
from runtime.link.frames import MemoryHead, decode_head
from runtime.link.memory import borrow
[part] = borrow(decode_head(MemoryHead, bytes.fromhex(sys.argv[1])), [int(sys.argv[2])])
print(bytes(part[:3]), flush=True)
sys.stdin.read()
"""


async def test_a_reader_that_is_killed_holds_nothing(memory: Memory) -> None:
    segment = lend(memory)
    head = encode_head(filled(segment, b"xyz" + bytes(MIB - 3))).hex()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, head, str(MIB), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(20):
        assert child.stdout is not None
        assert await child.stdout.readline() == b"b'xyz'\n"
        assert not segment.claim()
        child.kill()
        await child.communicate()
    assert segment.claim()


async def test_links_within_the_machine_have_a_memory_and_others_none(short_dir: Path) -> None:
    async with link_pair(short_dir) as (link, _, replica):
        assert link.memory is not None
        assert replica.links[0].memory is not None
        memory = link.memory
        segment = memory.lend("Model", [MIB])
        assert segment is not None
        memory.give_back(segment)
    assert memory.segments == []
    server = await listen("tcp:127.0.0.1:0", lambda: hello("replica"), RecordingLink(), token="t")
    over_tcp = await connect(f"tcp:127.0.0.1:{server.port}", hello("router", "t"), RecordingLink())
    assert over_tcp.memory is None
    over_tcp.close("done")
    server.close()
    await until(lambda: not server.links)


async def test_nothing_is_left_to_the_collector(memory: Memory) -> None:
    gc.disable()
    try:
        before = open_files()
        head = filled(lend(memory), b"1" * MIB)
        parts = borrow(head, [MIB])
        assert open_files() == before + 3  # the segment's own, its mapping's, and the reader's mapping's
        del parts
        assert open_files() == before + 2
    finally:
        gc.enable()
