"""What the documents list is what the code has: commands, exit codes, log events, metrics."""

from __future__ import annotations

import re
from pathlib import Path

from mux_cli.exits import ExitCode
from mux_cli.tree import COMMANDS
from runtime.observe.events import EVENTS

ROOT = Path(__file__).resolve().parents[2]


def rows(document: str) -> dict[str, str]:
    """Return first cell → last cell of every table row of a document."""
    found = {}
    for line in (ROOT / document).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) >= 2:
            found[cells[0].strip("`")] = cells[-1]
    return found


def test_the_readme_lists_every_command_with_its_help() -> None:
    listed = {name.removeprefix("mux "): text for name, text in rows("README.md").items() if name.startswith("mux ")}
    assert listed == {name: text for name, (_, text) in COMMANDS.items()}


def test_the_readme_lists_every_exit_code() -> None:
    listed = {
        int(code): text
        for code, text in rows("README.md").items()
        if code.isdigit() and int(code) not in range(400, 600)
    }
    assert listed == {int(code): code.meaning for code in ExitCode}


def test_every_log_event_is_documented() -> None:
    listed = {name: text for name, text in rows("docs/observability.md").items() if re.fullmatch(r"\w+\.\w+", name)}
    assert listed == EVENTS


def test_every_metric_is_documented() -> None:
    source = (ROOT / "runtime/router/metrics.py").read_text()
    named = re.findall(r'(Counter|Family|Gauge)\(\s*"(mux_\w+)", "([^"]+)"', source)
    assert named
    listed = {name: text for name, text in rows("docs/observability.md").items() if name.startswith("mux_")}
    assert listed == {name + ("_total" if kind == "Counter" else ""): text for kind, name, text in named}


def test_the_makefile_is_what_ci_runs() -> None:
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
