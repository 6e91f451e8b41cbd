"""Opening the store that a deployment's ``source`` names."""

from __future__ import annotations

from pathlib import Path

from runtime.stores.cache import DiskCache
from runtime.stores.fetched import FetchedFile, Progress, Store
from runtime.stores.local import LocalStore
from runtime.stores.s3 import S3Store
from runtime.stores.s3_objects import S3Objects, S3Settings
from runtime.stores.source import LocalSource, parse_source

__all__ = ["FetchedFile", "Progress", "S3Settings", "Store", "open_store"]


def open_store(source: str, config_dir: Path, cache_dir: Path, s3: S3Settings, quota_bytes: int) -> Store:
    """Return the store of ``source``. Nothing is read or connected yet. Raises ``ConfigError``.

    ``cache_dir`` holds what is downloaded, up to ``quota_bytes``; every process of the machine may share it.
    """
    parsed = parse_source(source, config_dir)
    if isinstance(parsed, LocalSource):
        return LocalStore(parsed)
    return S3Store(parsed, S3Objects(s3), DiskCache(cache_dir, quota_bytes))
