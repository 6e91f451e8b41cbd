from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_numbers = itertools.count(1)


@pytest.fixture
def app(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write user code into a module of its own; returns the module's name."""
    monkeypatch.syspath_prepend(str(short_dir))
    written: list[str] = []

    def write(source: str) -> str:
        name = f"user_app_{next(_numbers)}"
        (short_dir / f"{name}.py").write_text(textwrap.dedent(source))
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)
