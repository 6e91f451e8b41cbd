"""One log stream on disk: numbered, append-only files that are never renamed, the oldest deleted over the quota."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"([a-z]+)-(\d{6,})\.jsonl")
_RETRY_S: Final = 1.0
"""How long a stream that could not write waits before it tries the disk again."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one stream may keep: ``segment_bytes`` a file, ``total_bytes`` in all (at least two segments)."""

    segment_bytes: int
    total_bytes: int


def segment_path(folder: Path, stream: str, number: int) -> Path:
    return folder / f"{stream}-{number:06d}.jsonl"


def segments(folder: Path, stream: str) -> list[tuple[int, Path]]:
    """Return the stream's segments, oldest first; none if the folder is gone."""
    found: list[tuple[int, Path]] = []
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return found
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match[1] == stream:
            found.append((int(match[2]), folder / name))
    return sorted(found)


class SegmentWriter:
    """Appends whole lines to a stream. ``write`` never raises: it counts what the disk would not take."""

    def __init__(self, folder: Path, stream: str, quota: Quota, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._stream = stream
        self._quota = quota
        self._clock = clock
        self._fd = -1  # the open segment, or -1
        self._number = 0  # of the open segment, or of the last one
        self._size = 0  # bytes in the open segment
        self._torn = False  # the last write was cut short: the next one starts a line of its own
        self._retry_at = 0.0  # no attempt before this moment, after a failure
        self._checked_at = 0.0  # when it was last seen that the open segment still has a name
        self.lost_lines = 0  # since the last recovery; the owner reports and resets them
        self.error = ""  # why they were lost

    def write(self, data: bytes, lines: int = 1) -> bool:
        """Append ``data`` (whole lines); return whether the disk took all of it."""
        now = self._clock()
        if self._retry_at and now < self._retry_at:
            self.lost_lines += lines
            return False
        try:
            self._ensure_open(now, len(data))
            self._append(data)
        except OSError as exc:
            self.lost_lines += lines
            self.error = exc.strerror or str(exc)
            self._retry_at = now + _RETRY_S
            if exc.errno == errno.EBADF:  # user code closed what it did not open
                self._fd = -1
            return False
        self._retry_at = 0.0
        return True

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _append(self, data: bytes) -> None:
        """Write all of ``data``; a full disk may take a part of it and raise at the rest."""
        if self._torn:
            data = b"\n" + data
        rest = memoryview(data)
        while rest:
            written = os.write(self._fd, rest)
            self._size += written
            rest = rest[written:]
            self._torn = bool(rest)

    def _ensure_open(self, now: float, incoming: int) -> None:
        if self._fd >= 0 and (self._size and self._size + incoming > self._quota.segment_bytes):
            self.close()
        if self._fd >= 0 and not 0 <= now - self._checked_at < 1.0:
            self._checked_at = now
            if os.fstat(self._fd).st_nlink == 0:  # someone deleted the folder: lines would go nowhere
                self.close()
        if self._fd < 0:
            self._open_next()
            self._checked_at = now

    def _open_next(self) -> None:
        """Open a new segment. A process never appends to what another left: its last line may be torn."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        existing = segments(self._folder, self._stream)
        self._number = max(self._number, existing[-1][0] if existing else 0) + 1
        path = segment_path(self._folder, self._stream, self._number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0
        self._torn = False
        self._delete_oldest(existing)

    def _delete_oldest(self, closed: list[tuple[int, Path]]) -> None:
        """Delete from the oldest on until the closed segments and a full new one fit the quota."""
        sizes = [(path, path.stat().st_size) for _, path in closed if path.exists()]
        over = sum(size for _, size in sizes) + self._quota.segment_bytes - self._quota.total_bytes
        for path, size in sizes:
            if over <= 0:
                return
            path.unlink(missing_ok=True)
            over -= size
