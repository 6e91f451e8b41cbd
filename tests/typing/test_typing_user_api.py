"""The public API's types, as mypy --strict sees them from user code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import runtime

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    """What mypy says about the two files, by file name: ``line: code``."""
    files = [str(HERE / "user_app.py"), str(HERE / "user_mistakes.py")]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=HERE.parents[1], check=False)
    assert done.stderr == ""
    by_file: dict[str, list[str]] = {"user_app.py": [], "user_mistakes.py": []}
    for line in done.stdout.splitlines():
        match = re.match(r"(?:.*/)?([^/:]+):(\d+): error: .*\[([a-z-]+)\]$", line)
        if match:
            by_file.setdefault(match[1], []).append(f"{match[2]}: {match[3]}")
    return by_file


def test_a_right_application_has_no_errors(found: dict[str, list[str]]) -> None:
    assert found["user_app.py"] == []


def test_every_mistake_is_found_and_nothing_else(found: dict[str, list[str]]) -> None:
    text = (HERE / "user_mistakes.py").read_text().splitlines()
    marks = ((number, re.search(r"# error: ([a-z-]+)$", line)) for number, line in enumerate(text, 1))
    assert found["user_mistakes.py"] == [f"{number}: {mark[1]}" for number, mark in marks if mark]


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(runtime.__file__).parent / "py.typed").is_file()
