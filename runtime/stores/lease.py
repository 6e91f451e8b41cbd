"""A lock on a file that says: in use. The kernel drops it when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """Holds an open, locked file until ``release``."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd  # -1 once released

    @classmethod
    def take(cls, path: Path) -> Lease:
        """Lock ``path`` shared. Waits at most for an eviction to rename it away."""
        return cls._lock(path, fcntl.LOCK_SH)

    @classmethod
    def take_named(cls, path: Path) -> Lease | None:
        """Lock ``path`` shared and return the lease, or None if no file of that name is left."""
        try:
            lease = cls.take(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if os.path.samestat(path.stat(), os.fstat(lease._fd)):
                return lease
        except (FileNotFoundError, NotADirectoryError):
            pass
        lease.release()
        return None

    @classmethod
    def take_exclusive(cls, path: Path) -> Lease | None:
        """Lock ``path`` against every lease, or return None if there is one, or no such file."""
        try:
            return cls._lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):
            return None

    @classmethod
    def _lock(cls, path: Path, how: int) -> Lease:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, how)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    def release(self) -> None:
        """Unlock; doing so again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
