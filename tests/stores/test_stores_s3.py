"""Models in a bucket: against moto's server, and against an endpoint that fails on demand."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import psutil
import pytest

from runtime.errors import ObjectNotFound, StoreError, StoreUnreachable
from tests.stores.conftest import MakeStore, MiB, StartChild
from tests.stores.fakes import FakeS3

pytestmark = pytest.mark.anyio


def ignore(fraction: float, done_bytes: int) -> None:
    """Progress that nobody looks at."""


def entries(tmp_path: Path) -> int:
    return len(list((tmp_path / "cache" / "entries").iterdir()))


def leftovers(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "tmp").iterdir())


# --- moto -----------------------------------------------------------------------------------------------


async def test_an_object_is_downloaded_once_and_again_when_replaced(
    make_store: MakeStore, moto_url: str, moto_client: Any, tmp_path: Path
) -> None:
    body = os.urandom(20 * MiB)  # above the multipart threshold
    moto_client.put_object(Bucket="bucket", Key="a/1/model.pt", Body=body)
    store = make_store(moto_url)
    seen: list[tuple[float, int]] = []
    first = await store.fetch("a/1", lambda fraction, done: seen.append((fraction, done)))
    assert first.path.name == "model.pt"
    assert first.path.read_bytes() == body
    assert (first.size_bytes, first.from_cache, first.warning) == (20 * MiB, False, "")
    assert seen[-1] == (1.0, 20 * MiB)
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    second = await store.fetch("a/1", ignore)
    assert (second.path, second.from_cache) == (first.path, True)
    moto_client.put_object(Bucket="bucket", Key="a/1/model.pt", Body=b"new weights")
    third = await store.fetch("a/1", ignore)
    assert (third.path.read_bytes(), third.from_cache) == (b"new weights", False)
    assert first.path.read_bytes() == body, "what is in use stays, also when it was replaced"
    for fetched in (first, second, third):
        fetched.release()
    assert leftovers(tmp_path) == []


async def test_what_is_missing_is_told_apart(make_store: MakeStore, moto_url: str, moto_client: Any) -> None:
    with pytest.raises(ObjectNotFound, match=r"no object s3://bucket/1/model\.pt"):
        await make_store(moto_url).fetch("1", ignore)
    with pytest.raises(StoreError, match="no bucket 'other'") as caught:
        await make_store(moto_url, "s3://other/{model_id}").fetch("1", ignore)
    assert not isinstance(caught.value, ObjectNotFound)
    assert caught.value.hint
    with pytest.raises(StoreError, match="no bucket 'other'"):
        await make_store(moto_url, "s3://other/{model_id}/").fetch("1", ignore)
    with pytest.raises(ObjectNotFound, match="nothing under s3://bucket/1/"):
        await make_store(moto_url, "s3://bucket/{model_id}/").fetch("1", ignore)


async def test_a_prefix_becomes_a_folder(make_store: MakeStore, moto_url: str, moto_client: Any) -> None:
    for key, body in {"m/1/": b"", "m/1/config.json": b"{}", "m/1/deep/w.bin": b"123", "m/10/x": b"no"}.items():
        moto_client.put_object(Bucket="bucket", Key=key, Body=body)
    store = make_store(moto_url, "s3://bucket/m/{model_id}/")
    first = await store.fetch("1", ignore)
    found = {str(path.relative_to(first.path)): path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
    assert found == {"config.json": b"{}", "deep/w.bin": b"123"}
    assert first.size_bytes == 5
    moto_client.put_object(Bucket="bucket", Key="m/1/more", Body=b"4")
    second = await store.fetch("1", ignore)
    assert (second.path / "more").exists()
    assert not second.from_cache


async def test_a_key_cannot_lead_out_of_its_folder(
    make_store: MakeStore, fake_s3: FakeS3, moto_url: str, moto_client: Any, tmp_path: Path
) -> None:
    moto_client.put_object(Bucket="bucket", Key="m/1//evil", Body=b"x")
    with pytest.raises(StoreError, match="cannot be a file's path"):
        await make_store(moto_url, "s3://bucket/m/{model_id}/").fetch("1", ignore)


async def test_aws_variables_are_honoured(
    make_store: MakeStore, moto_url: str, moto_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": moto_url,
        "AWS_ACCESS_KEY_ID": "from-env",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    moto_client.put_object(Bucket="bucket", Key="1/model.pt", Body=b"w")
    store = make_store(None, region=None, access_key_id=None, secret_access_key=None)
    assert (await store.fetch("1", ignore)).path.read_bytes() == b"w"
    with pytest.raises(StoreError, match="no-such-profile"):
        await make_store(None, profile="no-such-profile").fetch("1", ignore)


# --- many processes -------------------------------------------------------------------------------------


@pytest.mark.process
async def test_two_processes_download_one_object_once(fake_s3: FakeS3, start_child: StartChild) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = os.urandom(MiB)
    fake_s3.stall = True
    children = [start_child(fake_s3.url, "1") for _ in range(2)]
    for child in children:
        print(file=child.stdin)
    assert fake_s3.half_sent.wait(30)
    fake_s3.go_on.set()
    said = sorted(child.stdout.readline().split()[0] for child in children)  # type: ignore[union-attr]
    assert said == ["cache", "downloaded"]
    assert fake_s3.gets == 1


@pytest.mark.process
async def test_a_killed_download_leaves_nothing_in_the_way(
    fake_s3: FakeS3, start_child: StartChild, make_store: MakeStore, tmp_path: Path
) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = body = os.urandom(MiB)
    fake_s3.stall = True
    child = start_child(fake_s3.url, "1")
    print(file=child.stdin)
    assert fake_s3.half_sent.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(30)
    assert len(leftovers(tmp_path)) == 1
    assert entries(tmp_path) == 0
    fake_s3.go_on.set()
    fetched = await make_store(fake_s3.url).fetch("1", ignore)
    assert fetched.path.read_bytes() == body
    assert leftovers(tmp_path) == []


@pytest.mark.process
async def test_what_another_process_uses_is_not_evicted(
    fake_s3: FakeS3, start_child: StartChild, make_store: MakeStore, tmp_path: Path
) -> None:
    for number in range(4):
        fake_s3.objects[f"/bucket/{number}/model.pt"] = bytes([number]) * MiB
    child = start_child(fake_s3.url, "0", quota_bytes=2 * MiB)
    print(file=child.stdin)
    path = Path(child.stdout.readline().split()[1])  # type: ignore[union-attr]
    store = make_store(fake_s3.url, quota_bytes=2 * MiB)
    for number in (1, 2):
        (await store.fetch(str(number), ignore)).release()
    assert path.exists()
    child.kill()  # the kernel gives its lease back
    child.wait(30)
    (await store.fetch("3", ignore)).release()
    assert not path.exists()
    assert entries(tmp_path) == 2


# --- quota and disk -------------------------------------------------------------------------------------


async def test_the_quota_evicts_what_was_used_longest_ago(
    fake_s3: FakeS3, make_store: MakeStore, tmp_path: Path
) -> None:
    for name in "abc":
        fake_s3.objects[f"/bucket/{name}/model.pt"] = name.encode() * MiB
    store = make_store(fake_s3.url, quota_bytes=2 * MiB)
    paths = {}
    for moment, name in enumerate("ab"):
        fetched = await store.fetch(name, ignore)
        fetched.release()
        paths[name] = fetched.path
        os.utime(fetched.path.parents[1] / "meta.json", (moment, moment))
    (await store.fetch("a", ignore)).release()
    (await store.fetch("c", ignore)).release()
    assert paths["a"].exists()
    assert not paths["b"].exists()
    assert entries(tmp_path) == 2


async def test_an_object_above_the_quota_or_the_disk_is_refused_in_words(
    fake_s3: FakeS3, make_store: MakeStore, tmp_path: Path
) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"x" * MiB
    with pytest.raises(StoreError, match=r"1\.0 MiB, more than the whole cache may hold \(1000\.0 KiB\)"):
        await make_store(fake_s3.url, quota_bytes=1000 * 1024).fetch("1", ignore)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(StoreError, match=r"cache"):
        await make_store(fake_s3.url).fetch("1", ignore)
    assert fake_s3.gets == 0


async def test_a_broken_entry_is_downloaded_again(fake_s3: FakeS3, make_store: MakeStore, tmp_path: Path) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"x" * 100
    store = make_store(fake_s3.url)
    fetched = await store.fetch("1", ignore)
    fetched.release()
    meta = fetched.path.parents[1] / "meta.json"
    for damage in (lambda: meta.write_text("{"), meta.unlink):
        damage()
        again = await store.fetch("1", ignore)
        assert (again.from_cache, again.path.read_bytes()) == (False, b"x" * 100)
        again.release()
    assert entries(tmp_path) == 1


# --- failures -------------------------------------------------------------------------------------------


async def test_an_endpoint_that_is_down(make_store: MakeStore) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(StoreUnreachable, match="does not answer") as caught:
        await make_store(f"http://127.0.0.1:{port}").fetch("1", ignore)
    assert "s3.endpoint_url" in caught.value.hint
    assert caught.value.retry_after_s


async def test_while_s3_is_down_the_cached_copy_is_used_with_a_warning(fake_s3: FakeS3, make_store: MakeStore) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"weights"
    store = make_store(fake_s3.url)
    (await store.fetch("1", ignore)).release()
    fake_s3.status = 503
    stale = await store.fetch("1", ignore)
    assert stale.path.read_bytes() == b"weights"
    assert "may be out of date" in stale.warning
    with pytest.raises(StoreUnreachable):
        await store.fetch("2", ignore)
    fake_s3.status = 403
    with pytest.raises(StoreError, match="access denied") as caught:
        await store.fetch("1", ignore)
    assert "may not list" in caught.value.hint


async def test_an_object_replaced_after_its_head_is_fetched_anew(fake_s3: FakeS3, make_store: MakeStore) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"old weights"
    fake_s3.replacements = [b"new"]
    fetched = await make_store(fake_s3.url).fetch("1", ignore)
    assert (fetched.path.read_bytes(), fetched.size_bytes) == (b"new", 3)
    assert fake_s3.gets == 2
    fake_s3.replacements = [b"1", b"2", b"3"]
    fake_s3.objects["/bucket/1/model.pt"] = b"0"
    with pytest.raises(StoreError, match="replaced during each of 3 downloads"):
        await make_store(fake_s3.url).fetch("1", ignore)


async def test_a_cancelled_fetch_stops_and_releases(fake_s3: FakeS3, make_store: MakeStore, tmp_path: Path) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"x" * MiB
    fake_s3.stall = True
    store = make_store(fake_s3.url)
    task = asyncio.create_task(store.fetch("1", ignore))
    await anyio.to_thread.run_sync(fake_s3.half_sent.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    fake_s3.go_on.set()
    await anyio.to_thread.run_sync(store.close)
    assert leftovers(tmp_path) == []


async def test_closing_ends_a_fetch_with_an_error(fake_s3: FakeS3, make_store: MakeStore) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"x" * MiB
    fake_s3.stall = True
    store = make_store(fake_s3.url)
    task = asyncio.create_task(store.fetch("1", ignore))
    await anyio.to_thread.run_sync(fake_s3.half_sent.wait, 20)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, store.close)
        fake_s3.go_on.set()
    with pytest.raises(StoreError, match="closed"):
        await task


@pytest.mark.parametrize("ended_by", ["cancel", "close"])
async def test_a_fetch_broken_off_leaves_no_connection(fake_s3: FakeS3, make_store: MakeStore, ended_by: str) -> None:
    fake_s3.objects["/bucket/1/model.pt"] = b"x" * MiB
    fake_s3.stall = True
    store = make_store(fake_s3.url)
    gc.disable()  # it would close them too, some time
    try:
        task = asyncio.create_task(store.fetch("1", ignore))
        await anyio.to_thread.run_sync(fake_s3.half_sent.wait, 20)
        if ended_by == "cancel":
            task.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, store.close)
            fake_s3.go_on.set()
        with pytest.raises((StoreError, asyncio.CancelledError)):
            await task
        port = urlsplit(fake_s3.url).port
        assert [c for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == port] == []
    finally:
        gc.enable()
