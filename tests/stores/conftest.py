"""A faked and a real (moto) S3 endpoint, stores on them, and child processes that fetch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from runtime.stores.fetched import Store
from runtime.stores.store import S3Settings, open_store
from tests.stores.fakes import FakeS3

ROOT = Path(__file__).parents[2]
MiB = 2**20
TEMPLATE = "s3://bucket/{model_id}/model.pt"

MakeStore = Callable[..., Store]
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def fake_s3() -> Iterator[FakeS3]:
    fake = FakeS3()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    assert server._server is not None
    server._server.server_close()


@pytest.fixture
def moto_client(moto_url: str) -> Iterator[Any]:
    """A client with an empty bucket called ``bucket``."""
    client = boto3.client(
        "s3", endpoint_url=moto_url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="bucket")
    yield client
    for entry in client.list_objects_v2(Bucket="bucket").get("Contents", []):
        client.delete_object(Bucket="bucket", Key=entry["Key"])
    client.delete_bucket(Bucket="bucket")
    client.close()


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Open a store on an endpoint; small timeouts, one attempt, the cache in ``tmp_path/cache``."""
    made: list[Store] = []

    def make(url: str, source: str = TEMPLATE, quota_bytes: int = 100 * MiB, **settings: Any) -> Store:
        options = {
            "region": "us-east-1",
            "access_key_id": "a",
            "secret_access_key": "b",
            "connect_timeout_s": 2.0,
            "read_timeout_s": 20.0,
            "max_attempts": 1,
        }
        store = open_store(
            source, tmp_path, tmp_path / "cache", S3Settings(url, **{**options, **settings}), quota_bytes
        )
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def start_child(tmp_path: Path) -> Iterator[StartChild]:
    """Start ``fetch_child`` and wait until it is ready."""
    children: list[subprocess.Popen[str]] = []

    def start(url: str, model_id: str, quota_bytes: int = 100 * MiB) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.stores.fetch_child",
                url,
                str(tmp_path / "cache"),
                str(quota_bytes),
                model_id,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()
