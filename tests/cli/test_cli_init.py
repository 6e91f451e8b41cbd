"""What ``mux init`` writes is a whole project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize("template", ["hello", "torch", "s3"])
def test_a_template_is_valid_as_it_is(mux: Run, template: str) -> None:
    assert mux("init", "shop", "--template", template).exit_code == 0
    result = mux("validate", "shop")
    assert result.exit_code == 0, result.stderr
    assert "project 'shop', 1 deployment: Model" in result.stderr


def test_the_current_folder_is_the_default(mux: Run) -> None:
    result = mux("init")
    assert result.exit_code == 0
    assert Path("mux.yaml").is_file()
    assert "cd " not in result.stderr


def test_nothing_is_overwritten(mux: Run) -> None:
    Path("app.py").write_text("mine")
    result = mux("init")
    assert result.exit_code == 2
    assert "app.py would be overwritten" in result.stderr
    assert Path("app.py").read_text() == "mine"
    assert not Path("mux.yaml").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(mux: Run) -> None:
    Path("shop").touch()
    assert mux("init", "shop").exit_code == 2


def test_hello_answers(mux: Run) -> None:
    mux("init", "shop")
    code = "import app; print(app.load_model('3').greet([1])['greeting'])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd="shop", capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines() == ["model 3 is ready", "Hello from model 3!"]


@pytest.mark.torch
def test_torch_writes_models_and_loads_them(mux: Run) -> None:
    pytest.importorskip("torch")
    mux("init", "shop", "-t", "torch")
    code = (
        "import app, torch; a, b = (app.load_model(str(i), f'models/{i}/model.pt') for i in (1, 2)); "
        "x = torch.ones(1, 3); print(a(x).item() != b(x).item())"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "app.py"], cwd="shop", env=env, timeout=60, check=True, capture_output=True)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd="shop", env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "True"
