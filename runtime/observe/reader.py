"""Reading the logs of all processes of a project as one story, in the order of time."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from runtime.observe.filter import LogFilter
from runtime.observe.record import LogRecord, decode
from runtime.observe.segments import segments

__all__ = ["LogFilter", "LogStream", "Position", "read_logs", "streams"]

STREAMS: Final = ("events", "requests")
_BLOCK: Final = 64 * 2**10


@dataclass(frozen=True, slots=True)
class LogStream:
    """One stream of one process: ``name`` is ``events`` or ``requests``."""

    folder: Path
    name: str


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream: after ``offset`` bytes of segment ``number``."""

    number: int
    offset: int


def streams(logs_dir: Path) -> list[LogStream]:
    """Return the streams of every process that ever wrote there, ordered by folder."""
    try:
        folders = sorted(path for path in logs_dir.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [LogStream(folder, name) for folder in folders for name in STREAMS]


def read_logs(
    logs_dir: Path, wanted: LogFilter, *, until: Mapping[LogStream, Position] | None = None
) -> Iterator[LogRecord]:
    """Yield the records that are asked for, oldest first, over all processes.

    With ``until``, only those streams, and only up to those positions. Torn lines are skipped.
    """
    ends: dict[LogStream, Position | None] = {}
    if until is None:
        ends.update(dict.fromkeys(streams(logs_dir)))
    else:
        ends.update(until)
    if wanted.last is not None:
        yield from reversed(list(islice(_latest_first(ends, wanted), max(0, wanted.last))))
        return
    sources = [_records(_forward(stream, wanted.since, end), wanted) for stream, end in ends.items()]
    yield from heapq.merge(*sources, key=lambda record: record.ts)


def _latest_first(ends: Mapping[LogStream, Position | None], wanted: LogFilter) -> Iterator[LogRecord]:
    sources = [_records(_backward(stream, wanted.since, end), wanted) for stream, end in ends.items()]
    return heapq.merge(*sources, key=lambda record: -record.ts)


def _records(lines: Iterable[bytes], wanted: LogFilter) -> Iterator[LogRecord]:
    for line in lines:
        record = decode(line)
        if record is not None and wanted.matches(record):
            yield record


def _segments_until(stream: LogStream, since: float | None, end: Position | None) -> list[tuple[Path, int | None]]:
    """Return the segments to read, oldest first, each with the byte to stop at (None: its end)."""
    chosen: list[tuple[Path, int | None]] = []
    for number, path in segments(stream.folder, stream.name):
        if end is not None and number > end.number:
            break
        if since is not None and _last_written(path) < since:
            continue
        chosen.append((path, end.offset if end is not None and number == end.number else None))
    return chosen


def _last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _forward(stream: LogStream, since: float | None, end: Position | None) -> Iterator[bytes]:
    for path, limit in _segments_until(stream, since, end):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # deleted over the quota since it was listed
            continue
        with file:
            read = 0
            for line in file:
                read += len(line)
                if limit is not None and read > limit:
                    break
                yield line


def _backward(stream: LogStream, since: float | None, end: Position | None) -> Iterator[bytes]:
    for path, limit in reversed(_segments_until(stream, since, end)):
        yield from lines_backward(path, limit)


def lines_backward(path: Path, limit: int | None = None) -> Iterator[bytes]:
    """Yield the lines before byte ``limit`` (None: the end), the last first; nothing if the file is gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        size = file.seek(0, os.SEEK_END)
        position = size if limit is None else min(limit, size)
        rest: list[bytes] = []  # of the line that is cut by ``position``, in blocks, the last first
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            first, newline, lines = file.read(step).partition(b"\n")
            if newline:
                tail = lines.split(b"\n")
                tail[-1] += b"".join(reversed(rest))
                yield from (line for line in reversed(tail) if line)
                rest = [first]
            else:
                rest.append(first)
        if rest:
            yield b"".join(reversed(rest))


def end_of(stream: LogStream) -> Position:
    """Return the position after the last whole line of a stream; (0, 0) where nothing was written yet."""
    for number, path in reversed(segments(stream.folder, stream.name)):
        try:
            data_end = path.stat().st_size
            with path.open("rb") as file:
                while data_end > 0:
                    start = max(0, data_end - _BLOCK)
                    file.seek(start)
                    newline = file.read(data_end - start).rfind(b"\n")
                    if newline >= 0:
                        return Position(number, start + newline + 1)
                    data_end = start
        except FileNotFoundError:
            continue
        return Position(number, 0)
    return Position(0, 0)
