"""Every README of ``examples/`` is run: its ``console`` blocks through bash, their output compared line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.conftest import EXAMPLES, Cli

pytestmark = pytest.mark.process
COMMAND_S = 60
WEIGHTS = {"s3_models": ("my_bucket", ("1", "2")), "migrated_from_ray": ("spam-filters", ())}
NEED_TORCH = {"torch_models", *WEIGHTS}


@dataclass
class Step:
    """One command of a README and the output that it promises; without one, any will do."""

    command: str
    output: list[str] = field(default_factory=list)


def steps(readme: Path) -> Iterator[Step]:
    for block in re.findall(r"^```console\n(.*?)^```", readme.read_text(), re.M | re.S):
        step: Step | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if step is not None:
                    yield step
                step = Step(line[2:])
            else:
                assert step is not None, f"{readme}: output before the first command"
                step.output.append(line)
        if step is not None:
            yield step


def fits(promised: str, seen: str) -> bool:
    """Compare; ``...`` stands for whatever is not the same each time."""
    return re.fullmatch(".+".join(map(re.escape, promised.split("..."))), seen) is not None


def follow(readme: Path, cli: Cli) -> None:
    """Do what a README says."""
    env = {**cli.env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{cli.env['PATH']}"}
    for step in steps(readme):
        command = step.command
        if "localhost:8000" in command:
            command = command.replace("localhost:8000", cli.url().removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-ec", command], cwd=cli.folder, env=env, text=True, capture_output=True, timeout=COMMAND_S
        )
        said = f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        if step.output:
            seen = done.stdout.rstrip("\n").split("\n")
            assert len(seen) == len(step.output), said
            assert all(map(fits, step.output, seen)), said


def test_every_example_has_a_readme_with_commands_a_config_and_code() -> None:
    for folder in (each for each in EXAMPLES.iterdir() if each.is_dir() and not each.name.startswith("__")):
        commands = [step.command for step in steps(folder / "README.md")]
        assert commands[-1] == "mux down", folder
        assert "mux deploy mux.yaml" in commands, folder
        assert (folder / "mux.yaml").exists(), folder
        assert list(folder.glob("*.py")), folder


@pytest.mark.parametrize("name", sorted(each.name for each in EXAMPLES.iterdir() if (each / "README.md").exists()))
def test_the_readme_is_true(
    name: str, example: Callable[[str], Cli], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEED_TORCH:
        pytest.importorskip("torch")
    if name in WEIGHTS:
        bucket, models = WEIGHTS[name]
        for key, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("MODEL_BUCKET", bucket)
        if models:
            put_linear_layers(bucket, models)
    follow(EXAMPLES / name / "README.md", example(name))


def put_linear_layers(bucket: str, models: tuple[str, ...]) -> None:
    """Put what ``s3_models`` loads, as its README says, where it says."""
    import io

    import boto3
    import torch

    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for model in models:
        file = io.BytesIO()
        torch.save({"layer.weight": torch.ones(1, 3), "layer.bias": torch.zeros(1)}, file)
        client.put_object(Bucket=bucket, Key=f"{model}/model.pt", Body=file.getvalue())
    client.close()


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """An empty S3 store on a port of its own; gives the variables that lead to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    server.stop()
