"""Downloaded files on disk: one download an object and machine, a byte quota, and nothing in use is deleted.

``entries/<place>-<version>/`` holds ``meta.json`` and ``data/``; it appears by one rename of a finished download,
so that a killed process leaves no half entry. ``tmp/`` holds downloads under way, ``locks/`` who makes them.

A lease is a shared ``flock`` on the entry's ``meta.json``. The kernel drops it when its holder dies, however it
dies. Eviction needs the exclusive lock, and skips an entry whose lock it does not get at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
from filelock import FileLock, Timeout

from runtime.errors import StoreError
from runtime.stores.disk import disk_failure, flush_tree, format_bytes, used_bytes
from runtime.stores.lease import Lease

_POLL_S: Final = 0.1
_QUOTA_LOCK_S: Final = 60.0
_NO_WAIT_S: Final = 0.0

Waiting = Callable[[int], None]
"""Called now and then with the bytes that another process has downloaded; may raise to stop the wait."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object. ``place`` says where it lies, ``version`` (an ETag) what it holds."""

    place: str
    version: str
    size_bytes: int

    @property
    def entry(self) -> str:
        return f"{_digest(self.place)}-{_digest(self.version)}"


class Meta(msgspec.Struct):
    """``meta.json`` of an entry. Its modification time is when the entry was last used."""

    place: str
    version: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CachedObject:
    """An entry in use: ``data`` holds its files until ``lease`` is released."""

    data: Path
    size_bytes: int
    from_cache: bool
    lease: Lease


class DiskCache:
    """A folder of downloads that every process of the machine may share."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._entries = folder / "entries"
        self._tmp = folder / "tmp"
        self._locks = folder / "locks"
        self._prepare_lock = threading.Lock()
        self._prepared = False

    def newest(self, place: str) -> CachedObject | None:
        """Return the last used version of an object, whatever it is, or None: for when its store is silent."""
        try:
            used = [
                (meta.stat().st_mtime, meta.parent.name) for meta in self._entries.glob(f"{_digest(place)}-*/meta.json")
            ]
            return next((cached for _, entry in sorted(used, reverse=True) if (cached := self._use(entry))), None)
        except FileNotFoundError:  # evicted in this moment
            return None
        except OSError as exc:
            raise disk_failure(exc, self._folder) from exc

    def fetch(self, version: Version, download: Callable[[Path], None], waiting: Waiting) -> CachedObject:
        """Return the object, calling ``download(folder)`` if no process of this machine has it yet.

        Blocks while another process downloads it. Raises ``StoreError`` where the disk is full or refuses.
        """
        try:
            self._prepare()
            if cached := self._use(version.entry):
                return cached
            with self._sole_downloader(version.entry, waiting):
                return self._use(version.entry) or self._add(version, download)
        except OSError as exc:
            raise disk_failure(exc, self._folder) from exc

    def trim(self, incoming_bytes: int = 0) -> None:
        """Delete the entries used longest ago until ``incoming_bytes`` fit quota and disk; those in use stay."""
        with FileLock(self._locks / "quota.lock", timeout=_QUOTA_LOCK_S):
            entries = sorted(self._listed())
            over = sum(size for _, _, size in entries) + incoming_bytes - self._quota_bytes
            over = max(over, incoming_bytes - shutil.disk_usage(self._folder).free)
            for _, entry, size in entries:
                if over <= 0:
                    return
                if self._evict(entry):
                    over -= size

    # --- adding -----------------------------------------------------------------------------------------

    def _add(self, version: Version, download: Callable[[Path], None]) -> CachedObject:
        """Download into a folder of its own and rename it into place, leased already (this is the downloader)."""
        self._sweep(version.entry)
        self._evict(version.entry)  # what is there without a readable record cannot be used
        self._make_room(version)
        temporary = Path(tempfile.mkdtemp(prefix=f"{version.entry}.", dir=self._tmp))
        try:
            data = temporary / "data"
            data.mkdir()
            download(data)
            meta = temporary / "meta.json"
            meta.write_bytes(msgspec.json.encode(Meta(version.place, version.version, version.size_bytes)))
            flush_tree(temporary)
            lease = Lease.take(meta)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        try:
            temporary.rename(self._entries / version.entry)
            flush_tree(self._entries, deep=False)
            self.trim()  # two downloads at once may each have fitted alone
        except BaseException:
            lease.release()
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return CachedObject(self._entries / version.entry / "data", version.size_bytes, False, lease)

    def _make_room(self, version: Version) -> None:
        if version.size_bytes > self._quota_bytes:
            raise StoreError(
                f"{version.place} has {format_bytes(version.size_bytes)}, more than the whole cache may hold "
                f"({format_bytes(self._quota_bytes)})",
                hint="Raise the cache's max_bytes.",
            )
        self.trim(version.size_bytes)
        free = shutil.disk_usage(self._folder).free
        if free < version.size_bytes:
            raise StoreError(
                f"{version.place} has {format_bytes(version.size_bytes)}, but the disk of {self._folder} has only "
                f"{format_bytes(free)} left",
                hint="Free some space, or put the cache on another disk.",
            )

    @contextmanager
    def _sole_downloader(self, entry: str, waiting: Waiting) -> Iterator[None]:
        """Be the one of all processes that may download the entry."""
        lock = FileLock(self._locks / f"{entry}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_POLL_S, poll_interval=_POLL_S / 2)
            except Timeout:
                waiting(sum(used_bytes(folder) for folder in self._tmp.glob(f"{entry}.*")))
        try:
            yield
        finally:
            lock.release()

    # --- using and evicting -----------------------------------------------------------------------------

    def _use(self, entry: str) -> CachedObject | None:
        folder = self._entries / entry
        lease = Lease.take_named(folder / "meta.json")
        if lease is None:
            return None
        try:
            meta = msgspec.json.decode((folder / "meta.json").read_bytes(), type=Meta)
            os.utime(folder / "meta.json")
        except msgspec.MsgspecError:
            lease.release()
            self._evict(entry)
            return None
        return CachedObject(folder / "data", meta.size_bytes, True, lease)

    def _listed(self) -> list[tuple[float, str, int]]:
        """Return (last used, entry, bytes) of every entry; one without a readable record counts as oldest."""
        listed: list[tuple[float, str, int]] = []
        for folder in self._entries.iterdir():
            try:
                meta = msgspec.json.decode((folder / "meta.json").read_bytes(), type=Meta)
                listed.append(((folder / "meta.json").stat().st_mtime, folder.name, meta.size_bytes))
            except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                listed.append((0.0, folder.name, used_bytes(folder)))
        return listed

    def _evict(self, entry: str) -> bool:
        """Delete an entry unless it is in use; return whether it is gone."""
        folder = self._entries / entry
        lock = Lease.take_exclusive(folder / "meta.json")
        if lock is None and (folder / "meta.json").exists():
            return False
        try:
            if folder.exists():
                doomed = self._tmp / f"evicted.{token_hex(8)}"
                folder.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        finally:
            if lock is not None:
                lock.release()
        self._forget_lock(entry)
        return True

    def _forget_lock(self, entry: str) -> None:
        """Delete the lock file of an entry that is gone, unless someone is about to download it again."""
        path = self._locks / f"{entry}.lock"
        try:
            with FileLock(path, timeout=_NO_WAIT_S):
                path.unlink(missing_ok=True)
        except Timeout:
            return

    # --- housekeeping -----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the folders and, once a process, delete what killed processes left."""
        with self._prepare_lock:
            for folder in (self._entries, self._tmp, self._locks):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._prepared:
                return
            self._prepared = True
            for entry in {folder.name.partition(".")[0] for folder in self._tmp.iterdir()}:
                try:
                    with FileLock(self._locks / f"{entry}.lock", timeout=_NO_WAIT_S):
                        self._sweep(entry)
                except Timeout:  # its downloader lives
                    continue

    def _sweep(self, entry: str) -> None:
        """Delete the unfinished downloads of an entry; only its downloader may."""
        for folder in self._tmp.glob(f"{entry}.*"):
            shutil.rmtree(folder, ignore_errors=True)


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
