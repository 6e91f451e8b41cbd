"""Recorded traffic: the routers' own logs (a file, or a folder with those of many), JSON lines, CSV; also gzipped."""

from __future__ import annotations

import csv
import gzip
import heapq
import math
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from runtime.errors import TraceError
from runtime.observe.events import REQUEST_ACCESS
from runtime.simulate.arrivals import HOLD_S, Arrival, in_order

TIME_KEYS: Final = ("at", "time", "ts", "timestamp", "t")
UNITS: Final = {"": 1.0, "_s": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}  # by the end of the key's name
EPOCHS: Final = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))  # from what first number on a key without a unit means which
LATEST: Final = 1e11  # seconds: no trace lasts longer
MODEL_KEYS: Final = ("model", "model_id", "id", "key")
_TIMES: Final = tuple(key + unit for key in TIME_KEYS for unit in UNITS)
_ACCESS: Final = f'"{REQUEST_ACCESS}"'.encode()
_decode: Final = msgspec.json.Decoder().decode
DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile)

Timed = tuple[float, Arrival]  # when the line was written, and what it tells


class Recorded:
    """A trace in a file or folder, read as a stream. Raises ``TraceError`` where it is none.

    A folder is searched for the access lines of routers, and those of several routers are merged. A file holds such
    lines, or JSON objects with a time and a model, or rows of ``time,model``; a first row of names says which columns
    are meant. Times are ISO 8601, or seconds: since any moment, or of the Unix epoch in whole seconds, milli-, micro-
    or nanoseconds, which their size tells. A name that ends in ``_ms``, ``_us`` or ``_ns`` says so. ``deployment``
    keeps only the requests of one.
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
        except DAMAGED as exc:
            raise damaged(self._path, exc) from exc
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


def damaged(path: Path, exc: Exception) -> TraceError:
    """Return what to say of an archive in which ``DAMAGED`` was met."""
    return TraceError(f"{path} is damaged or cut short: {exc}", hint=_FORMS)


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
    clock = _Clock(name)
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
            keys = _key(_TIMES, record, name, number), _key(MODEL_KEYS, record, name, number)
            clock.named(keys[0])
        at = clock.seconds(record.get(keys[0]), number)
        yield at, Arrival(at, _model(record.get(keys[1])))


def _key(known: Iterable[str], record: dict[str, Any], name: str, number: int) -> str:
    found = next((key for key in known if key in record), None)
    if found is None:
        said = TIME_KEYS if known is _TIMES else known
        raise TraceError(f"{name}:{number}: none of the keys {', '.join(said)} is there", hint=_FORMS)
    return found


def _rows(file: IO[bytes], name: str) -> Iterator[Timed]:
    """Read rows of time and model, separated by comma, semicolon or tab."""
    lines = _text(file, name)
    before, first = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    columns = (0, 1)
    clock = _Clock(name)
    head = [cell.strip() for cell in next(csv.reader([first], delimiter=separator), [])]
    if len(head) > 1 and not _is_time(head[0]):
        names = [cell.lower() for cell in head]
        columns = _column(_TIMES, names, name, before + 1), _column(MODEL_KEYS, names, name, before + 1)
        clock.named(names[columns[0]])
        before += 1
    else:
        lines = chain([first] if first else [], lines)
    reader = csv.reader(lines, delimiter=separator)
    try:
        for row in reader:
            number = before + reader.line_num
            if not row:
                continue
            if len(row) <= max(columns):
                raise TraceError(f"{name}:{number}: a row needs a time and a model", hint=_FORMS)
            at = clock.seconds(row[columns[0]].strip(), number)
            yield at, Arrival(at, _model(row[columns[1]].strip()))
    except csv.Error as exc:
        raise TraceError(f"{name}:{before + reader.line_num}: {exc}", hint=_FORMS) from exc


def _text(file: IO[bytes], name: str) -> Iterator[str]:
    """Decode line by line, a byte order mark or not. Raises ``TraceError`` where the bytes are no text."""
    for number, line in enumerate(file, 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").rstrip("\r\n")
        if "\0" in text or "\r" in text:
            raise TraceError(f"{name}:{number}: this is no line of text", hint=_FORMS)
        yield text


def _column(known: Iterable[str], head: list[str], name: str, number: int) -> int:
    found = next((head.index(key) for key in known if key in head), None)
    if found is None:
        said = TIME_KEYS if known is _TIMES else known
        raise TraceError(f"{name}:{number}: none of the columns {', '.join(said)} is there", hint=_FORMS)
    return found


class _Clock:
    """The times of a trace. Their unit is what the key's name says, else what the size of the first number tells."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unit: float | None = None
        self._last = -math.inf

    def named(self, key: str) -> None:
        """Take the unit from the name of a key, where it ends in one."""
        self._unit = next((unit for end, unit in UNITS.items() if end and key.endswith(end)), None)

    def seconds(self, value: object, number: int) -> float:
        """Return a time in seconds. Raises ``TraceError`` with the line where it is none."""
        try:
            read, iso = _time(value)
        except ValueError as exc:
            raise self._no_time(value, number) from exc
        if self._unit is None:
            self._unit = 1.0 if iso else next((unit for least, unit in EPOCHS if read >= least), 1.0)
        at = read if iso else read * self._unit
        if abs(at) >= LATEST:
            raise self._no_time(value, number)
        if at < self._last - HOLD_S:
            text = f"{value!r} is more than {HOLD_S:g} s before a line above; sort the trace by time"
            raise TraceError(f"{self._name}:{number}: {text}", hint=_FORMS)
        self._last = max(self._last, at)
        return at

    def _no_time(self, value: object, number: int) -> TraceError:
        text = f"{self._name}:{number}: {value!r} is neither a number of seconds nor an ISO 8601 time"
        return TraceError(text, hint=_FORMS)


def _is_time(text: str) -> bool:
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _time(value: object) -> tuple[float, bool]:
    """Return a number, and whether it was written as ISO 8601, in seconds then. Raises ``ValueError``."""
    iso = False
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number, iso = datetime.fromisoformat(value).timestamp(), True
    else:
        raise ValueError(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number, iso


def _model(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
