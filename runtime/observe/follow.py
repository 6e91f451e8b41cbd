"""Following the logs of all processes while they are written."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.observe.filter import LogFilter
from runtime.observe.reader import LogStream, Position, end_of, read_logs, streams
from runtime.observe.record import LogRecord, decode
from runtime.observe.segments import segments

_READ_BYTES: Final = 4 * 2**20
"""How much of a stream is read in one poll, so that a burst does not fill the memory."""


def follow_logs(
    logs_dir: Path,
    wanted: LogFilter,
    *,
    stop: Callable[[], bool],
    poll_s: float = 0.2,
    hold_s: float = 0.3,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[LogRecord]:
    """Yield what ``read_logs`` yields, then what is written from then on, until ``stop()``.

    A record is held back for ``hold_s`` seconds, since that of another process may be older and still in a
    buffer; those of one such window are yielded in the order of time. New processes, new segments, deleted
    segments and deleted folders are all followed.
    """
    ends = {stream: end_of(stream) for stream in streams(logs_dir)}
    yield from read_logs(logs_dir, wanted, until=ends)
    tails = {stream: _Tail(stream, end) for stream, end in ends.items()}
    held = _Held(hold_s)
    while not stop():
        now = clock()
        behind = False
        for stream in streams(logs_dir):
            tail = tails.setdefault(stream, _Tail(stream, Position(0, 0)))
            for line in tail.read():
                record = decode(line)
                if record is not None and wanted.matches(record):
                    held.add(record, now)
            behind = behind or tail.behind
        yield from held.due(now)
        if not behind:
            sleep(poll_s)
    yield from held.due(float("inf"))


@dataclass(slots=True)
class _Tail:
    """Where the reading of one stream stands."""

    stream: LogStream
    position: Position
    inode: int = 0  # of the segment at ``position``; 0: not opened yet
    rest: bytes = b""  # the beginning of a line whose end is not written yet
    behind: bool = False  # the last read stopped before the end

    def read(self) -> list[bytes]:
        """Return the whole lines written since the last call, up to ``_READ_BYTES``."""
        self.behind = False
        present = segments(self.stream.folder, self.stream.name)
        if present and present[-1][0] < self.position.number:  # the folder was deleted and begins anew
            self._go_to(0)
        lines: list[bytes] = []
        for number, path in present:
            if number < self.position.number:
                continue
            if number > self.position.number:  # listed before the one before was read to its end: that one is done
                self._go_to(number)
            lines += self._read_segment(path)
            if self.behind:
                break
        return lines

    def _go_to(self, number: int) -> None:
        self.position = Position(number, 0)
        self.inode = 0
        self.rest = b""

    def _read_segment(self, path: Path) -> list[bytes]:
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if (self.inode and status.st_ino != self.inode) or status.st_size < self.position.offset:
                    self._go_to(self.position.number)
                self.inode = status.st_ino
                file.seek(self.position.offset)
                data = file.read(_READ_BYTES)
        except FileNotFoundError:  # deleted over the quota
            return []
        self.behind = len(data) == _READ_BYTES
        self.position = Position(self.position.number, self.position.offset + len(data))
        *lines, self.rest = (self.rest + data).split(b"\n")
        return lines


class _Held:
    """Records that wait for older ones, by time."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._heap: list[tuple[float, int, float, LogRecord]] = []  # ts, arrival number, arrived at, record
        self._arrivals = 0

    def add(self, record: LogRecord, now: float) -> None:
        self._arrivals += 1
        heapq.heappush(self._heap, (record.ts, self._arrivals, now, record))

    def due(self, now: float) -> Iterator[LogRecord]:
        """Yield those held long enough. A time stamp from the future does not hold a record for longer."""
        while self._heap and min(self._heap[0][0], self._heap[0][2]) <= now - self._hold_s:
            yield heapq.heappop(self._heap)[3]
