"""Every command of docs/simulate.md runs, and shows what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

PAGE = Path(__file__).parents[2] / "docs" / "simulate.md"
CONFIG = """deployments:
  - {name: Model, loader: "app:load", num_replicas: 2, max_num_models_per_replica: 2}
"""


def commands() -> list[tuple[str, list[str]]]:
    """Return (command, lines that the page shows below it)."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.mark.parametrize(("command", "shown"), commands(), ids=lambda value: str(value)[:60])
def test_the_page(command: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mux_cli.tree import root

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mux.yaml").write_text(CONFIG)
    (tmp_path / "traffic.csv").write_text("".join(f"{n / 20},{n * n % 7}\n" for n in range(200)))
    name, *args = shlex.split(command)
    assert name == "mux"
    result = CliRunner().invoke(root, args, prog_name="mux")
    assert result.exit_code == 0, result.output
    said = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    for line in shown:  # the figures move with every change of the brain; the rows do not
        if line.strip() and line.strip() != "...":
            assert line.split()[0] in said
