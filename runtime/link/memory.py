"""Large arguments through shared memory: the caller copies them once, and the receiver's arrays lie on that copy.

A segment is an anonymous file in memory (``memfd_create``) of the caller's. A call's head names it, the receiver
opens it through ``/proc``, as a process of the same user may, and takes a shared ``flock`` that lasts as long as its
mapping: until the last array on it has gone, or the process. The caller uses a segment again only when its call is
over and nobody has that lock. So no message gives it back, and nothing is left behind by a process that dies: the
kernel keeps the books. A receiver that cannot open it refuses the call, which then sends its arguments as body.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import mmap
import os
from collections.abc import Sequence
from typing import Final

from runtime.link.frames import KIB, MemoryHead

UNREACHABLE: Final = "memory"  # why a call is refused whose receiver cannot open its segment
MIB: Final = KIB * KIB
SMALLEST: Final = 256 * KIB  # bytes of arguments; fewer are as fast as body
LARGEST: Final = 64 * MIB  # one segment
TOTAL: Final = 128 * MIB  # all segments of one link
IDLE_S: Final = 10.0  # a segment that nobody wanted for so long is given back to the system

_FIRST: Final = 4096  # where the first part begins: copying from page to page is a fifth faster
_ALIGNMENT: Final = 64
_MARK_BYTES: Final = 16
HAS_SEGMENTS: Final = hasattr(os, "memfd_create")  # on Linux
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW if HAS_SEGMENTS else 0  # no reader can be killed by its end


class Segment:
    """One anonymous file in memory and this process's mapping of it."""

    def __init__(self, size: int) -> None:
        """Raises ``OSError`` where there are no files or no memory left."""
        self.size = size
        self.lent = False  # a call is open whose arguments are here
        self.idle_since = 0.0
        self.descriptor = os.memfd_create("mux-arguments", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._map = mmap.mmap(self.descriptor, size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def claim(self) -> bool:
        """Take it for a new call, unless a receiver still has something on it. From now on the old mark is void."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._map[:_MARK_BYTES] = os.urandom(_MARK_BYTES)
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.lent = True
        return True

    def fill(self, parts: Sequence[memoryview]) -> MemoryHead:
        """Copy ``parts`` to it and return what the call's head says of it."""
        with memoryview(self._map) as view:
            for start, part in zip(_starts([len(part) for part in parts]), parts, strict=False):
                view[start : start + len(part)] = part
        return MemoryHead(os.getpid(), self.descriptor, self.size, self._map[:_MARK_BYTES])

    def copied(self, lengths: Sequence[int]) -> list[memoryview]:
        """Return copies of the parts that it was filled with."""
        starts = zip(_starts(lengths), lengths, strict=False)
        return [memoryview(self._map[start : start + length]) for start, length in starts]

    def close(self) -> None:
        """Let go of it. Its memory goes with the last receiver's mapping."""
        self._map.close()
        os.close(self.descriptor)


class Memory:
    """The segments of one link's calls: at most ``total`` bytes of address space."""

    def __init__(self, loop: asyncio.AbstractEventLoop, total: int = TOTAL) -> None:
        self.segments: list[Segment] = []
        self.unreachable: set[str] = set()  # deployments whose replicas cannot open them
        self._loop = loop
        self._total = total
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def lend(self, deployment: str, lengths: Sequence[int]) -> Segment | None:
        """Return a segment for parts of those lengths, to be given back when the call is over; None: send a body."""
        size = sum(lengths)
        if self._closed or not SMALLEST <= size <= LARGEST or deployment in self.unreachable:
            return None
        needed = _starts(lengths)[-1]
        fitting = sorted((one for one in self.segments if not one.lent and one.size >= needed), key=_size)
        found = next((one for one in fitting if one.claim()), None)
        return found or self._new(-(-needed // MIB) * MIB)

    def give_back(self, segment: Segment) -> None:
        """The call is over. A receiver may hold on to its arguments all the same."""
        segment.lent = False
        segment.idle_since = self._loop.time()
        if self._closed:
            self._drop(segment)
        elif self._timer is None:
            self._timer = self._loop.call_later(IDLE_S, self._sweep)

    def close(self) -> None:
        """The link is gone: whatever is not being filled goes now, the rest when it is given back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for segment in [one for one in self.segments if not one.lent]:
            self._drop(segment)

    def _new(self, size: int) -> Segment | None:
        """Make a segment; idle ones that are too small make room for it."""
        idle = sorted((one for one in self.segments if not one.lent), key=_size)
        while sum(map(_size, self.segments)) + size > self._total:
            spare = next((one for one in idle if one.claim()), None)
            if spare is None:
                return None
            idle.remove(spare)
            self._drop(spare)
        try:
            segment = Segment(size)
        except OSError:
            return None
        self.segments.append(segment)
        return segment if segment.claim() else None

    def _sweep(self) -> None:
        before = self._loop.time() - IDLE_S
        for segment in [one for one in self.segments if not one.lent and one.idle_since <= before]:
            self._drop(segment)
        left = bool(self.segments) and not self._closed
        self._timer = self._loop.call_later(IDLE_S, self._sweep) if left else None

    def _drop(self, segment: Segment) -> None:
        self.segments.remove(segment)
        segment.close()


def borrow(head: MemoryHead, lengths: Sequence[int]) -> list[memoryview]:
    """Return the parts that a caller has put into its segment; it is theirs until the last of them has gone.

    Raises ``OSError`` where it cannot be opened, or is not what the caller meant any more.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(f"/proc/{head.process}/fd/{head.descriptor}", flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS or os.fstat(descriptor).st_size != head.size:
            raise OSError("that is no segment")
        # it has a duplicate of the descriptor, and with it the lock, for as long as anything lies on it
        segment = mmap.mmap(descriptor, head.size)
    finally:
        os.close(descriptor)
    starts = _starts(lengths)
    if segment[:_MARK_BYTES] != head.mark or starts[-1] > head.size:
        raise OSError("the caller has used the segment for something else")
    view = memoryview(segment)
    return [view[start : start + length] for start, length in zip(starts, lengths, strict=False)]


def _starts(lengths: Sequence[int]) -> list[int]:
    """Return where each part begins, behind the mark, and last how long the whole is."""
    rounded = (-(-length // _ALIGNMENT) * _ALIGNMENT for length in lengths)
    return list(itertools.accumulate(rounded, initial=_FIRST))


def _size(segment: Segment) -> int:
    return segment.size
