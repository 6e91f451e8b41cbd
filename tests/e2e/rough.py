"""The project of ``apps/rough.py``, deployed, with what the tests of failures and of life ask of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import Cli
from tests.e2e.deployed import deployed, lines, project, until
from tests.e2e.load import Answer, ask

YAML = """
deployments:
  - {name: Rough, loader: "app:load_model", handler: "app:predict", num_replicas: 2,
     graceful_shutdown_timeout_s: 5, load_timeout_s: 1}
"""


class Rough:
    """A running project. ``url`` is asked once."""

    def __init__(self, cli: Cli, marks: Path) -> None:
        self.cli = cli
        self.marks = marks
        self.url = cli.url()

    def ask(self, path: str = "/", model: str = "", *, method: str = "GET", **headers: str) -> Answer:
        return ask(self.url, path, model, method=method, **headers)

    def release(self, *names: str) -> None:
        """Let what is held by ``names`` go on."""
        with self.marks.open("a") as file:
            file.writelines(f"release {name}\n" for name in names)

    def seen(self, word: str, times: int = 1) -> None:
        """Return once the app has written ``word`` so often."""
        until(lambda: lines(self.marks).count(word) >= times, f"{word!r} in {lines(self.marks)[-20:]}")

    def pids(self, prefix: str = "") -> dict[str, int]:
        return {name: pid for name, pid in self.cli.pids().items() if name.startswith(prefix)}

    def replicas(self, deployment: str = "Rough") -> list[dict[str, Any]]:
        return [one for one in self.cli.status()["replicas"] if one["deployment"] == deployment]

    def all_ready(self) -> None:
        """Return once everything is ready, which ``mux wait`` says."""
        self.cli.run("wait", "--timeout", "30")

    def edit(self, old: str, new: str, file: str = "mux.yaml") -> None:
        path = self.cli.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@contextmanager
def rough(yaml: str = YAML, folder: Path | None = None, *, http: str = "port: 0") -> Iterator[Rough]:
    """Deploy the app with a config and give what is needed to be rough with it. ``http``: of the config."""
    with tempfile.TemporaryDirectory(prefix="mux-rough-", dir="/tmp") as scratch, pytest.MonkeyPatch.context() as patch:
        marks = Path(scratch) / "marks"
        marks.touch()
        patch.setenv("MARKS", str(marks))
        made = project("rough", yaml, folder or Path(scratch) / "rough")
        config = made / "mux.yaml"
        config.write_text(config.read_text().replace("http: {port: 0}", f"http: {{{http}}}"))
        with deployed(made) as cli:
            yield Rough(cli, marks)


def ended(pids: dict[str, int]) -> bool:
    """Return whether none of the processes runs any more; one that only waits to be reaped does not."""
    for pid in pids.values():
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True
