"""A project that several tests of a module share: deployed once through the real CLI, taken down at the end."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import Cli

APPS = Path(__file__).parent / "apps"
DEADLINE_S = 30.0


@contextmanager
def deployed(folder: Path, config: str = "mux.yaml") -> Iterator[Cli]:
    """Deploy ``folder`` and give its CLI."""
    home = Path(tempfile.mkdtemp(prefix="mux-home-", dir="/tmp"))
    cli = Cli(folder, home)
    try:
        cli.run("deploy", config)
        yield cli
    finally:
        cli.run("down")
        shutil.rmtree(home, ignore_errors=True)


def project(app: str, yaml: str, folder: Path) -> Path:
    """Write a project: one of the modules of ``apps/`` as ``app.py``, and its ``mux.yaml``."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(APPS / f"{app}.py", folder / "app.py")
    (folder / "mux.yaml").write_text("http: {port: 0}\n" + yaml)
    return folder


def until(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition`` holds."""
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:g} s"
        pause.wait(0.02)


def lines(path: Path) -> list[str]:
    """Return the lines of a file; none where it is not there yet."""
    return path.read_text().splitlines() if path.exists() else []
