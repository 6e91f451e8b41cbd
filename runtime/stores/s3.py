"""Models in an S3 bucket, through the disk cache."""

from __future__ import annotations

import threading
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Final

from runtime.errors import StoreError, StoreUnreachable
from runtime.stores.cache import CachedObject, DiskCache, Version
from runtime.stores.fetched import FetchedFile, Progress
from runtime.stores.fetching import FetchThreads, Ticket
from runtime.stores.s3_objects import ObjectChanged, S3Object, S3Objects
from runtime.stores.source import S3Source

_THREADS: Final = 8
_ATTEMPTS: Final = 3
"""How often a fetch starts again when the object is replaced while it is being downloaded."""


class S3Store:
    """A bucket of models.

    Each fetch asks S3 for the ETag first, so a replaced object is downloaded again. Where S3 does not answer but
    some version is in the cache, that one is used, with a warning: a model that was served yesterday is
    better than an outage.
    """

    def __init__(self, source: S3Source, objects: S3Objects, cache: DiskCache) -> None:
        self._source = source
        self._objects = objects
        self._cache = cache
        self._threads = FetchThreads(_THREADS, "mux-s3-store")

    async def fetch(self, model_id: str, progress: Progress) -> FetchedFile:
        """Return the model's file in the cache. Raises as ``Store.fetch`` does."""
        key = self._source.key(model_id)
        return await self._threads.run(lambda ticket: self._fetch(key, ticket), progress)

    def close(self) -> None:
        """Stop what is being fetched, end the threads and close the connections. Blocks until that is done."""
        self._threads.stop()
        self._objects.close()
        self._threads.join()

    def _fetch(self, key: str, ticket: Ticket) -> FetchedFile:
        for _ in range(_ATTEMPTS):
            ticket.check()
            try:
                return self._file(key, self._cached(key, self._parts(key), ticket))
            except ObjectChanged:
                continue
            except StoreUnreachable as exc:
                stale = self._cache.newest(self._place(key))
                if stale is None:
                    raise
                warning = f"{exc.message}; using the copy in the cache, which may be out of date."
                return self._file(key, stale, warning)
        raise StoreError(f"{self._place(key)} was replaced during each of {_ATTEMPTS} downloads", retry_after_s=5.0)

    def _parts(self, key: str) -> list[S3Object]:
        if self._source.is_folder:
            return self._objects.listed(self._source.bucket, key)
        return [self._objects.head(self._source.bucket, key)]

    def _cached(self, key: str, parts: list[S3Object], ticket: Ticket) -> CachedObject:
        total_bytes = sum(part.size_bytes for part in parts)
        content = _digest(parts) if self._source.is_folder else parts[0].etag
        version = Version(self._place(key), content, total_bytes)
        paths = [self._relative(key, part) for part in parts]
        done = _Done(total_bytes, ticket)

        def download(folder: Path) -> None:
            for part, relative in zip(parts, paths, strict=True):
                path = folder / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                self._objects.download(part, path, done.add)

        cached = self._cache.fetch(version, download, lambda seen: ticket.progress(min(seen, total_bytes), total_bytes))
        ticket.progress(total_bytes, total_bytes)
        return cached

    def _relative(self, key: str, part: S3Object) -> PurePosixPath:
        """Return where a part goes below the entry's folder. Keys may hold '..', which must not lead out of it."""
        if not self._source.is_folder:
            return PurePosixPath(PurePosixPath(key).name)
        relative = part.key[len(key) :]
        if any(name in ("", ".", "..") for name in relative.split("/")):
            raise StoreError(f"{part.place} cannot be a file's path below its model's folder")
        return PurePosixPath(relative)

    def _file(self, key: str, cached: CachedObject, warning: str = "") -> FetchedFile:
        path = cached.data if self._source.is_folder else cached.data / PurePosixPath(key).name
        return FetchedFile(path, cached.size_bytes, cached.from_cache, cached.lease.release, warning)

    def _place(self, key: str) -> str:
        """Name the object with its endpoint: two stores may have buckets of one name."""
        return f"{self._objects.endpoint} s3://{self._source.bucket}/{key}"


class _Done:
    """Adds up what the threads of a transfer report."""

    def __init__(self, total_bytes: int, ticket: Ticket) -> None:
        self._lock = threading.Lock()
        self._total_bytes = total_bytes
        self._ticket = ticket
        self._done_bytes = 0

    def add(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            done_bytes = self._done_bytes
        self._ticket.progress(done_bytes, self._total_bytes)


def _digest(parts: list[S3Object]) -> str:
    """Return what names the content of a folder: a digest of all its keys and ETags."""
    lines = "".join(f"{part.key}\0{part.etag}\0{part.size_bytes}\n" for part in parts)
    return blake2b(lines.encode(), digest_size=16).hexdigest()
