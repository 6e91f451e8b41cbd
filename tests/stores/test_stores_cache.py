"""The disk cache by itself: disks that fail, and what they are called."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.errors import StoreError
from runtime.stores.cache import DiskCache, Version
from runtime.stores.disk import disk_failure, format_bytes, used_bytes
from runtime.stores.lease import Lease

ONE = Version("s3://bucket/1", "etag", 5)


def write(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"12345")


def idle(seen_bytes: int) -> None:
    """Wait on."""


def test_a_disk_that_fills_up_during_a_download_says_so_and_is_cleaned(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)

    def fill_up(folder: Path) -> None:
        write(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match=r"the disk of .* is full") as caught:
        cache.fetch(ONE, fill_up, idle)
    assert "Free some space" in caught.value.hint
    assert list((tmp_path / "tmp").iterdir()) == []
    cached = cache.fetch(ONE, write, idle)
    assert (cached.data / "model.pt").read_bytes() == b"12345"
    cached.lease.release()


def test_an_object_larger_than_the_free_disk_is_refused_before_its_download(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has 1024\.0 TiB, but the disk of .* has only"):
        DiskCache(tmp_path, 2**60).fetch(Version("place", "etag", 2**50), write, idle)


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EROFS, "may not be written"), (errno.EDQUOT, "is full"), (errno.EIO, "cannot be used")]
)
def test_failures_of_the_disk_in_words(number: int, says: str) -> None:
    assert says in disk_failure(OSError(number, os.strerror(number)), Path("/cache")).message


def test_entries_in_use_are_never_evicted_even_over_the_quota(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 8)
    first = cache.fetch(ONE, write, idle)
    second = cache.fetch(Version("s3://bucket/2", "etag", 5), write, idle)
    assert first.data.exists()
    assert second.data.exists()
    first.lease.release()
    first.lease.release()
    cache.trim()
    assert not first.data.exists()
    assert second.data.exists()
    second.lease.release()
    locks = {path.stem for path in (tmp_path / "locks").iterdir()}
    assert locks == {"quota", second.data.parent.name}, "lock files must not pile up"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_newest_version_stands_in_for_a_silent_store(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    assert cache.newest(ONE.place) is None
    for moment, version in enumerate(("old", "new")):
        cached = cache.fetch(Version(ONE.place, version, 5), write, idle)
        os.utime(cached.data.parent / "meta.json", (moment, moment))
        cached.lease.release()
    newest = cache.newest(ONE.place)
    assert newest is not None
    assert newest.data == cached.data
    newest.lease.release()


def test_a_lease_on_a_file_that_was_replaced_is_none(tmp_path: Path) -> None:
    assert Lease.take_named(tmp_path / "missing") is None
    path = tmp_path / "meta.json"
    path.write_text("{}")
    lease = Lease.take_named(path)
    assert lease is not None
    assert Lease.take_exclusive(path) is None
    lease.release()
    lock = Lease.take_exclusive(path)
    assert lock is not None
    lock.release()


def test_sizes_as_people_write_them(tmp_path: Path) -> None:
    assert [format_bytes(n) for n in (0, 1023, 1536, 5 * 2**30)] == ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 GiB"]
    assert used_bytes(tmp_path / "missing") == 0
