"""A project of its own home and port for each test, driven through the real CLI, taken down at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEADLINE_S = 60


class Cli:
    """Runs ``mux`` as a person would, in ``folder``."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "MUX_HOME": str(home), "PORT": "0", "NO_COLOR": "1", "COLUMNS": "120"}
        self.env.pop("MUX_PROJECT", None)

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "mux_cli", *args], cwd=self.folder, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs,
        )  # fmt: skip

    def run(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end; fail the test unless it exits with ``code``."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mux_cli", *args], cwd=self.folder, env=self.env, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"mux {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def pids(self) -> dict[str, int]:
        """Name → pid of the supervisor and every child."""
        status = self.status()
        children = {each["id"]: each["pid"] for each in status["routers"] + status["replicas"] if each["pid"]}
        return {"supervisor": status["pid"], **children}

    def logs(self, *args: str) -> str:
        return self.run("logs", "-n", "10000", *args).stdout

    def url(self) -> str:
        return str(self.status()["url"]).rstrip("/")

    def ask(
        self, model: str = "", body: Any = None, path: str = "/", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request; return status, JSON (or text) and headers."""
        sent = dict(headers or {})
        if model:
            sent["serve_multiplexed_model_id"] = model
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url() + path, data=data, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, _read(answer.read()), {k.lower(): v for k, v in answer.headers.items()}
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read()), {k.lower(): v for k, v in error.headers.items()}


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def gone(pids: dict[str, int]) -> None:
    """Wait until every process has ended; fail at the deadline."""
    alive = [psutil.Process(pid) for pid in pids.values() if psutil.pid_exists(pid)]
    _, still = psutil.wait_procs(alive, timeout=DEADLINE_S)
    assert not [each for each in still if each.status() != psutil.STATUS_ZOMBIE], still


@pytest.fixture
def make_cli() -> Iterator[Callable[[Path], Cli]]:
    """Return a maker of ``Cli``; every project it deployed is taken down, and its home removed."""
    made: list[tuple[Cli, Path]] = []

    def make(folder: Path) -> Cli:
        home = Path(tempfile.mkdtemp(prefix="mux-home-", dir="/tmp"))
        made.append((Cli(folder, home), home))
        return made[-1][0]

    yield make
    for cli, home in made:
        for record in home.glob("projects/*/supervisor.json"):
            config = json.loads((record.parent / "project.json").read_bytes())["config_path"]
            subprocess.run(
                [sys.executable, "-P", "-m", "mux_cli", "down"],
                cwd=Path(config).parent,
                env=cli.env,
                capture_output=True,
                timeout=DEADLINE_S, check=False,
            )  # fmt: skip
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def example(tmp_path: Path, make_cli: Callable[[Path], Cli]) -> Callable[[str], Cli]:
    """Return a maker of a ``Cli`` in a copy of one example."""

    def copy(name: str) -> Cli:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("models", "__pycache__"))
        return make_cli(folder)

    return copy
