"""Every example, deployed and asked as its README says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import EXAMPLES, Cli, gone

pytestmark = pytest.mark.process
SEED_LINE = r"^INFO \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} default_%s default_%s#\w{6} [\w-]+ / default \w+\.py:\d+ - %s$"


def test_hello_answers_and_shows_the_lines_of_a_load(example: Callable[[str], Cli]) -> None:
    cli = example("hello")
    cli.run("deploy", "mux.yaml")
    assert cli.ask("de", {"inputs": "Welt"})[:2] == (200, {"greeting": "Hallo, Welt!"})
    status, body, headers = cli.ask("de")
    assert (status, body) == (200, {"greeting": "Hallo, world!"})
    assert headers["x-mux-cache"] == "hit"
    logs = cli.logs("--model", "de")
    for message in (r"Started executing request [\w-]+", r"Loading model 'de'\.", r"__CALL__ OK \d+\.\dms"):
        assert re.search(SEED_LINE % ("Hello", "Hello", message), logs, re.M), logs
    assert cli.ask("xx")[0] == 404
    pids = cli.pids()
    cli.run("down")
    gone(pids)


@pytest.mark.torch
def test_the_demo_checks_every_answer_against_the_weights() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "torch_models" / "demo.py")], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  checked: ") == 6
    assert "Loading model '6'." in done.stdout
    assert "Unloading model '" in done.stdout


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 endpoint with a bucket of three models; yields its URL."""
    import io

    import boto3
    import torch
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    for key, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint, "MODEL_BUCKET": "my_bucket",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="my_bucket")
    for number in (1, 2, 3, 4, 5):
        torch.manual_seed(number)
        layer, file = torch.nn.Linear(3, 1), io.BytesIO()
        torch.save({"layer.weight": layer.weight.detach(), "layer.bias": layer.bias.detach()}, file)
        s3.put_object(Bucket="my_bucket", Key=f"{number}/model.pt", Body=file.getvalue())
    s3.close()
    yield endpoint
    server.stop()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_s3_models_in_the_class_form(bucket: str, example: Callable[[str], Cli]) -> None:
    import torch

    cli = example("s3_models")
    cli.run("deploy", "mux.yaml")
    for number in (1, 2, 3, 4, 1):
        torch.manual_seed(number)
        want = torch.nn.Linear(3, 1)(torch.tensor([[1.0, 2.0, 3.0]])).item()
        status, body, _ = cli.ask(str(number), {"inputs": [[1, 2, 3]]})
        assert status == 200, body
        assert body["model"] == str(number)
        assert body["outputs"][0][0] == pytest.approx(want, rel=1e-5)
    logs = cli.logs()
    assert re.search(SEED_LINE % ("ModelInferencer", "ModelInferencer", r"Loading model '1'\."), logs, re.M)
    cli.run("down")
