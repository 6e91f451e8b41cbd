"""What importing the configuration costs: a process that only needs the models reads no YAML."""

from __future__ import annotations

import subprocess
import sys


def imported(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_models_bring_pydantic_and_little_else() -> None:
    heavy = {"yaml", "asyncio", "difflib", "torch", "boto3", "rich", "typer", "uvicorn", "starlette", "msgspec"}
    assert heavy & imported("import runtime.config.models") == set()


def test_the_reader_brings_no_more_than_yaml() -> None:
    heavy = {"asyncio", "torch", "boto3", "rich", "typer", "uvicorn", "starlette", "jsonschema"}
    assert heavy & imported("import runtime.config.load, runtime.config.diff, runtime.config.code") == set()


def test_the_package_gives_its_names_on_first_use() -> None:
    names = imported("import runtime.config; assert runtime.config.Config.__name__ == 'Config'")
    assert "runtime.config.models" in names
    assert "runtime.config.reader" not in names
