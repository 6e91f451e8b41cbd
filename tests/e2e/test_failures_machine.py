"""What the machine does to a deployment: a store that is gone, a full disk, a port that is taken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.e2e.deployed import project, until
from tests.e2e.load import Load, ask
from tests.e2e.rough import YAML, Rough, rough

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore::DeprecationWarning:moto")]

S3_YAML = """
s3: {endpoint_url: "%s", access_key_id: test, secret_access_key: test, region: us-east-1}
cache: {dir: ./cache}
deployments:
  - {name: Rough, loader: "app:load_file", handler: "app:predict", source: "s3://bucket/{model_id}/weights.txt",
     max_num_models_per_replica: 1}
"""


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough() as running:
        yield running


class Bucket:
    """An S3 endpoint that can be unplugged."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.get_host_and_port()[1]}"

    def fill(self, *models: str) -> None:
        import boto3

        s3 = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        s3.create_bucket(Bucket="bucket")
        for model in models:
            s3.put_object(Bucket="bucket", Key=f"{model}/weights.txt", Body=f"weights of {model}".encode())
        s3.close()

    def unplug(self) -> None:
        self._server.stop()


def test_without_its_store_a_deployment_serves_what_the_cache_has() -> None:
    bucket = Bucket()
    bucket.fill("1", "2", "3", "4")
    with rough(S3_YAML % bucket.url) as app:
        for model in ("1", "2", "3"):
            assert app.ask(model=model).body["model"] == f"weights of {model}"
        missing = app.ask(model="99")
        assert (missing.status, missing.body["message"]) == (404, "there is no object s3://bucket/99/weights.txt")
        bucket.unplug()
        for model in ("3", "1", "2"):
            assert app.ask(model=model).status == 200
        warning = app.cli.logs("--level", "warning", "--model", "1")
        assert "Fetched model '1' from the cache. s3://bucket/1/weights.txt: " in warning
        assert "using the copy in the cache, which may be out of date." in warning
        answer = app.ask(model="4")
        assert (answer.status, answer.body["error"]) == (503, "store_unreachable")
        assert f"s3://bucket/4/weights.txt: {bucket.url} does not answer" in answer.body["message"]
        assert int(answer.headers["retry-after"]) >= 1
        assert app.ask(model="2").status == 200


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_told_with_who_uses_it(app: Rough, taken: int) -> None:
    app.edit("port: 0", f"port: {taken}")
    done = app.cli.run("deploy", code=3)
    assert f"error: 127.0.0.1:{taken} is in use by " in done.stderr
    assert f"(pid {os.getpid()})." in done.stderr
    assert app.ask(model="a").status == 200, "the old address still answers"
    assert app.cli.url() == app.url
    app.cli.run("down")
    assert f"127.0.0.1:{taken} is in use by " in app.cli.run("deploy", code=3).stderr
    assert f"127.0.0.1:{taken} is in use by " in app.cli.run("deploy", "--foreground", code=3).stderr
    assert "is not running" in app.cli.run("status", code=5).stderr
    app.edit(f"port: {taken}", "port: 0")


def test_broken_records_of_the_last_time_are_no_obstacle(app: Rough) -> None:
    root = next(Path(app.cli.env["MUX_HOME"]).glob("projects/*"))
    for name in ("supervisor.json", "children.json", "desired.json"):
        (root / name).write_text("{torn")
    assert "is not running" in app.cli.run("status", code=5).stderr
    app.cli.run("deploy")
    assert json.loads(app.cli.run("status", "--json").stdout)["generation"] == 1


def test_two_projects_never_share_a_port(app: Rough, make_cli: Callable[[Path], Cli], tmp_path: Path) -> None:
    port = app.cli.url().rpartition(":")[2]
    other = make_cli(tmp_path)
    (tmp_path / "app.py").write_text("def load_model(model_id): return len\n")
    yaml = f"http: {{port: {port}}}\ndeployments:\n  - {{name: Thief, loader: 'app:load_model'}}\n"
    (tmp_path / "mux.yaml").write_text(yaml)
    assert f"127.0.0.1:{port} is in use by " in other.run("deploy", code=3).stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write until not a byte more fits."""
    path = disk / "filling"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (65536, 512, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except OSError:
            continue
    os.close(fd)
    return path


def test_a_full_disk_stops_the_logs_and_no_request(app: Rough, small_disk: Path, tmp_path: Path) -> None:
    cli = Cli(project("rough", YAML, tmp_path / "rough"), small_disk)
    cli.env["MARKS"] = str(app.marks)
    cli.run("deploy")
    try:
        filling, url = fill(small_disk), cli.url()
        with Load(url) as load:
            os.kill(next(pid for name, pid in cli.pids().items() if name.startswith("Rough")), signal.SIGKILL)
            load.more(200)
        assert load.bad == {}
        cli.run("restart", "--no-wait")
        assert ask(url, model="a").status == 200
        filling.unlink()
        cli.run("deploy")
        until(lambda: [one["state"] for one in cli.status()["replicas"]] == ["ready", "ready"], "both replicas")
        assert ask(url, model="a").status == 200
        until(lambda: "log lines were lost: No space left on device." in cli.logs(), "the count of lost lines")
    finally:
        cli.run("down")


def test_a_cache_on_a_full_disk_is_a_503_that_says_so(small_disk: Path) -> None:
    bucket = Bucket()
    bucket.fill("1", "2")
    with rough(S3_YAML.replace("./cache", str(small_disk)) % bucket.url) as app:
        assert app.ask(model="1").status == 200
        filling = fill(small_disk)
        answer = app.ask(model="2")
        assert (answer.status, answer.body["error"]) == (503, "store_failed")
        assert str(small_disk) in answer.body["message"]
        filling.unlink()
        until(lambda: ask(app.url, model="2").status == 200, "the end of the remembered failure")
    bucket.unplug()


@pytest.mark.parametrize("command", [["deploy"], ["deploy", "--foreground"]])
def test_state_that_cannot_be_written_is_told_with_what_to_do(
    make_cli: Callable[[Path], Cli], tmp_path: Path, command: list[str]
) -> None:
    cli = make_cli(tmp_path)
    cli.env["MUX_HOME"] = "/dev/null/mux"
    (tmp_path / "app.py").write_text("def load_model(model_id): return len\n")
    (tmp_path / "mux.yaml").write_text("deployments:\n  - {name: Model, loader: 'app:load_model'}\n")
    done = cli.run(*command, code=3)
    assert "error: The project's state cannot be written: Not a directory: /dev/null/mux" in done.stderr
    assert "MUX_HOME" in done.stderr
