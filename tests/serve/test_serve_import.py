"""``from runtime import serve`` is light: user code imports it in every script, notebook and replica."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "uvicorn", "torch", "boto3", "numpy", "fastapi", "starlette", "pydantic", "rich", "typer", "yaml",
    "multiprocessing", "runtime.replica", "runtime.router", "runtime.supervisor", "runtime.config",
)  # fmt: skip


def test_it_imports_nothing_heavy() -> None:
    code = f"import sys; from runtime import serve; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    from runtime import serve

    for name in serve.__all__:
        assert getattr(serve, name) is not None
    assert not hasattr(serve, "no_such_name")
