"""A folder with a little code in it, in which configurations are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from runtime.config.load import Loaded, load_config
from runtime.config.problems import ConfigProblems

APP = """
class Model: ...

def load_model(model_id): ...

def predict(model, request): ...

entry = Model
"""

Headlines = Callable[..., list[str]]
Load = Callable[..., Loaded]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: ``shop``, with an ``app.py``."""
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "app.py").write_text(APP)
    monkeypatch.chdir(shop)
    return shop


@pytest.fixture
def load(folder: Path) -> Load:
    """Read a text as ``mux.yaml`` in the folder."""

    def read(text: str, env: Mapping[str, str] | None = None) -> Loaded:
        (folder / "mux.yaml").write_text(text)
        return load_config("mux.yaml", env or {})

    return read


@pytest.fixture
def headlines(load: Load) -> Headlines:
    """The first lines of all problems of a text."""

    def read(text: str, env: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigProblems) as caught:
            load(text, env)
        return [problem.headline for problem in caught.value.problems]

    return read
