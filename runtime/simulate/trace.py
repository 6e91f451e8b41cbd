"""Recorded traffic: the routers' own logs (a file, or a folder with those of many), JSON lines, CSV; also gzipped."""

from __future__ import annotations

import csv
import gzip
import heapq
import math
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from runtime.errors import TraceError
from runtime.observe.events import REQUEST_ACCESS
from runtime.simulate.arrivals import Arrival, in_order

TIME_KEYS: Final = ("at", "time", "ts", "timestamp", "t")
MODEL_KEYS: Final = ("model", "model_id", "id", "key")
_ACCESS: Final = f'"{REQUEST_ACCESS}"'.encode()
_decode: Final = msgspec.json.Decoder().decode

Timed = tuple[float, Arrival]  # when the line was written, and what it tells


class Recorded:
    """A trace in a file or folder, read as a stream. Raises ``TraceError`` where it is none.

    A folder is searched for the access lines of routers, and those of several routers are merged. A file holds such
    lines, or JSON objects with a time and a model, or rows of ``time,model``; a first row of names says which columns
    are meant. Times are seconds, or ISO 8601. ``deployment`` keeps only the requests of one.
    """

    def __init__(self, path: Path, *, deployment: str = "") -> None:
        self.name = str(path)
        self._path = path
        self._deployment = deployment

    def __iter__(self) -> Iterator[Arrival]:
        found = False
        try:
            for arrival in self._merged() if self._path.is_dir() else in_order(self._lines()):
                found = True
                yield arrival
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise TraceError(f"{self.name} is damaged or cut short: {exc}", hint=_FORMS) from exc
        if not found:
            of = f" of deployment {self._deployment!r}" if self._deployment else ""
            raise TraceError(f"there is no request{of} in {self.name}", hint=_FORMS)

    def _merged(self) -> Iterator[Arrival]:
        """Yield the arrivals of every router of a log folder. One file is open for each process that logged."""
        streams: dict[Path, list[Path]] = {}
        for path in sorted(self._path.rglob("*.jsonl*")):
            if path.name.startswith("requests-") and path.suffix in (".jsonl", ".gz"):
                streams.setdefault(path.parent, []).append(path)
        sources = [in_order(self._access(_lines_of(paths))) for paths in streams.values()]
        return heapq.merge(*sources, key=lambda arrival: arrival.at)

    def _lines(self) -> Iterator[Timed]:
        with opened(self._path) as file:
            first = file.readline().strip()
            while first == b"" and file.peek(1):  # type: ignore[attr-defined]
                first = file.readline().strip()
            file.seek(0)
            if not first.startswith(b"{"):
                yield from _rows(file, self.name)
            elif b'"event"' in first and b'"process"' in first:
                yield from self._access(file)
            else:
                yield from _objects(file, self.name)

    def _access(self, lines: Iterable[bytes]) -> Iterator[Timed]:
        """Read the lines of a log that stand for a request which reached a deployment; torn ones are skipped."""
        for line in lines:
            if _ACCESS not in line:
                continue
            try:
                record = msgspec.json.decode(line, type=Access)
            except msgspec.MsgspecError:
                continue
            if record.event == REQUEST_ACCESS and record.deployment and self._deployment in ("", record.deployment):
                yield record.ts, Arrival(record.ts - record.ms / 1000.0, record.model or None)


class Access(msgspec.Struct):
    """What the simulator reads of a router's line. Times are milliseconds, ``ts`` seconds when the request ended."""

    ts: float
    event: str = ""
    deployment: str = ""
    model: str = ""
    ms: float = 0.0
    queue_ms: float = 0.0
    cache: str = ""


_FORMS: Final = (
    "A trace is a router's log (a file or a folder), JSON lines with a time and a model, or rows of time,model."
)


def opened(path: Path) -> IO[bytes]:
    """Open a file that may be gzipped. Raises ``TraceError``."""
    try:
        file = path.open("rb")
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    except OSError as exc:
        raise TraceError(f"{str(path)!r} cannot be read: {exc.strerror}", hint=_FORMS) from exc


def _lines_of(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with opened(path) as file:
            yield from file


def _objects(lines: Iterable[bytes], name: str) -> Iterator[Timed]:
    """Read one JSON object a line."""
    keys: tuple[str, str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise TraceError(f"{name}:{number}: {exc}", hint=_FORMS) from exc
        if not isinstance(record, dict):
            raise TraceError(f"{name}:{number}: this is no JSON object", hint=_FORMS)
        if keys is None:
            keys = _key(TIME_KEYS, record, name, number), _key(MODEL_KEYS, record, name, number)
        at = _seconds(record.get(keys[0]), name, number)
        yield at, Arrival(at, _model(record.get(keys[1])))


def _key(known: tuple[str, ...], record: dict[str, Any], name: str, number: int) -> str:
    for key in known:
        if key in record:
            return key
    raise TraceError(f"{name}:{number}: none of the keys {', '.join(known)} is there", hint=_FORMS)


def _rows(file: IO[bytes], name: str) -> Iterator[Timed]:
    """Read rows of time and model, separated by comma, semicolon or tab."""
    lines = (line.decode("utf-8-sig", "replace") for line in file)
    first = next((line for line in lines if line.strip()), "")
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    columns = (0, 1)
    head = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator), [])]
    if len(head) > 1 and not _is_time(head[0]):
        columns = _column(TIME_KEYS, head, name), _column(MODEL_KEYS, head, name)
        rows: Iterable[str] = lines
        start = 2
    else:
        rows = _chain(first, lines)
        start = 1
    for number, row in enumerate(csv.reader(rows, delimiter=separator), start):
        if not row:
            continue
        if len(row) <= max(columns):
            raise TraceError(f"{name}:{number}: a row needs a time and a model", hint=_FORMS)
        at = _seconds(row[columns[0]].strip(), name, number)
        yield at, Arrival(at, _model(row[columns[1]].strip()))


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _column(known: tuple[str, ...], head: list[str], name: str) -> int:
    for key in known:
        if key in head:
            return head.index(key)
    raise TraceError(f"{name}:1: none of the columns {', '.join(known)} is there", hint=_FORMS)


def _is_time(text: str) -> bool:
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _time(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        try:
            seconds = float(value)
        except ValueError:
            seconds = datetime.fromisoformat(value).timestamp()
    else:
        raise ValueError(value)
    if not math.isfinite(seconds):
        raise ValueError(value)
    return seconds


def _seconds(value: object, name: str, number: int) -> float:
    try:
        return _time(value)
    except ValueError as exc:
        text = f"{name}:{number}: {value!r} is neither a number of seconds nor an ISO 8601 time"
        raise TraceError(text, hint=_FORMS) from exc


def _model(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
