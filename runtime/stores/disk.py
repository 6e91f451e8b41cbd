"""What the disk says, in words, and how to make sure that it holds what it was given."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from runtime.errors import StoreError

_BLOCK_BYTES: Final = 512  # the unit of st_blocks, whatever the file system's own


def disk_failure(exc: OSError, folder: Path) -> StoreError:
    """Return the error to raise for a failure of the disk under ``folder``."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"the disk of {folder} is full", hint="Free some space, or put the cache on another disk.")
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            f"{exc.filename or folder} may not be written: {exc.strerror}",
            hint="Give this user write permission, or set another cache dir.",
        )
    return StoreError(f"the cache in {folder} cannot be used: {exc}")


def flush_tree(folder: Path, *, deep: bool = True) -> None:
    """Make a folder, and all below it if ``deep``, survive a loss of power."""
    if deep:
        for path in folder.rglob("*"):
            _flush(path)
    _flush(folder)


def used_bytes(folder: Path) -> int:
    """Return the disk space below ``folder``; what vanishes meanwhile counts nothing."""
    total = 0
    for path in (folder, *folder.rglob("*")):
        try:
            total += path.lstat().st_blocks * _BLOCK_BYTES
        except OSError:
            continue
    return total


def format_bytes(count: int) -> str:
    """Return a size as a person writes it: 1.5 GiB."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
