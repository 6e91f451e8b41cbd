"""Models that lie on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import BadModelId, ObjectNotFound, StoreError
from runtime.stores.store import S3Settings, Store, open_store

pytestmark = pytest.mark.anyio


def local(source: str, tmp_path: Path) -> Store:
    return open_store(source, tmp_path, tmp_path / "cache", S3Settings(), 1000)


def ignore(fraction: float, done_bytes: int) -> None:
    """Progress that nobody looks at."""


async def test_a_file_is_given_as_it_lies(tmp_path: Path) -> None:
    (tmp_path / "models" / "1").mkdir(parents=True)
    model = tmp_path / "models" / "1" / "model.pt"
    model.write_bytes(b"weights")
    seen: list[tuple[float, int]] = []
    store = local("./models/{model_id}/model.pt", tmp_path)
    fetched = await store.fetch("1", lambda fraction, done: seen.append((fraction, done)))
    assert (fetched.path, fetched.size_bytes, fetched.from_cache) == (model, 7, False)
    assert seen == [(1.0, 7)]
    fetched.release()
    fetched.release()
    assert model.exists()
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ObjectNotFound, match=r"no file .*models/2/model\.pt"):
        await store.fetch("2", ignore)
    with pytest.raises(BadModelId):
        await store.fetch("../1", ignore)
    store.close()


async def test_a_folder_each_model(tmp_path: Path) -> None:
    (tmp_path / "1" / "sub").mkdir(parents=True)
    (tmp_path / "1" / "a").write_bytes(b"123")
    (tmp_path / "1" / "sub" / "b").write_bytes(b"4567")
    (tmp_path / "2").write_bytes(b"")
    store = local("{model_id}/", tmp_path)
    fetched = await store.fetch("1", ignore)
    assert (fetched.path, fetched.size_bytes) == (tmp_path / "1", 7)
    with pytest.raises(ObjectNotFound, match="no folder"):
        await store.fetch("2", ignore)
    store.close()


async def test_a_folder_where_a_file_should_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    store = local("{model_id}", tmp_path)
    with pytest.raises(StoreError, match="is a folder"):
        await store.fetch("1", ignore)
    with pytest.raises(StoreError, match="cannot be read"):
        await store.fetch("x" * 300, ignore)
    store.close()
