"""The root of the command tree: help, laziness, completion, and how failures are told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mux_cli import failures, tree
from mux_cli.tree import COMMANDS, command, root
from runtime.errors import ConfigError, MuxError, NotRunning, StartError
from tests.cli.conftest import MakeProject, Run

ROOT = Path(__file__).parents[2]
HEAVY = {"uvicorn", "torch", "boto3", "starlette", "pydantic", "rich", "yaml", "asyncio", "mux_cli.commands.deploy"}


def real(*args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mux_cli", *args],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command(mux: Run) -> None:
    page = mux("--help").stdout
    for name, (section, summary) in COMMANDS.items():
        assert f"{section}:" in page
        assert re.search(rf"^  {name} +{re.escape(summary[:30])}", page, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(mux: Run, name: str) -> None:
    result = mux(name, "--help")
    assert result.exit_code == 0
    assert f"mux {name}" in result.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("verb", ["load", "unload", "pin", "unpin"])
def test_every_verb_of_models_has_help_with_examples(mux: Run, verb: str) -> None:
    assert f"mux models {verb} 3" in mux("models", verb, "-h").stdout


@pytest.mark.parametrize("args", [["--help"], ["--version"], []])
def test_nothing_heavy_is_imported(args: list[str]) -> None:
    code = f"""
import sys
from mux_cli.tree import command
try:
    command().main({args!r}, prog_name="mux")
except SystemExit:
    pass
print("HEAVY", sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[-1] == "HEAVY []"


def test_completion_offers_commands_without_importing_them() -> None:
    result = real(_MUX_COMPLETE="complete_bash", COMP_WORDS="mux re", COMP_CWORD="1")
    assert result.stdout.split() == ["restart", "request"]


def test_completion_offers_projects_and_deployments(make_project: MakeProject) -> None:
    make_project("shop", deployments=[{"name": "Model"}, {"name": "Other"}])

    def complete(words: str) -> list[str]:
        position = str(len(words.split(" ")) - 1)
        return real(_MUX_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=position).stdout.split()

    assert complete("mux status -p s") == ["shop"]
    assert complete("mux restart -p shop M") == ["Model"]
    assert complete("mux scale -p shop ") == ["Model=", "Other="]
    assert complete("mux logs -p shop O") == ["Other"]


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(mux: Run) -> None:
    result = mux("stats")
    assert result.exit_code == 2
    assert "Did you mean 'status'" in result.stderr


def test_the_real_process_exits_with_the_documented_codes(tmp_path: Path) -> None:
    assert real("--version").returncode == 0
    assert real("request", "--count", "x").returncode == 2
    assert real("status", cwd=tmp_path).returncode == 5
    assert real("status", "-p", "nobody", cwd=tmp_path).returncode == 8
    assert real("request", "--url", "http://127.0.0.1:1").returncode == 9


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(tree.LazyGroup, "invoke", fail)


def test_an_error_is_one_message_with_a_hint(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, NotRunning("'shop' is not running.", hint="mux deploy"))
    result = mux("status")
    assert result.exit_code == 5
    assert result.stderr == "error: 'shop' is not running.\nhint: mux deploy\n"


def test_a_failed_start_shows_the_users_traceback_first(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, StartError("Model could not start", traceback="Traceback\n  File app.py\nKeyError: 1\n"))
    result = mux("status")
    assert result.exit_code == 3
    assert result.stderr == "Traceback\n  File app.py\nKeyError: 1\n\nerror: Model could not start\n"


def test_a_listing_of_problems_stays_as_it_is(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, ConfigError("mux.yaml:1:2: a\nmux.yaml:3:4: b"))
    result = mux("validate")
    assert (result.exit_code, result.stderr) == (4, "mux.yaml:1:2: a\nmux.yaml:3:4: b\n")


@pytest.mark.parametrize("error", [ValueError("boom"), MuxError("boom")])
def test_a_bug_is_a_sentence_and_a_file(
    mux: Run, monkeypatch: pytest.MonkeyPatch, home: Path, error: Exception
) -> None:
    _failing(monkeypatch, error)
    result = mux("status")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    [report] = (home / "bugs").iterdir()
    assert str(report) in result.stderr
    assert "boom" in report.read_text()
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


def test_mux_debug_shows_the_traceback_at_once(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, ValueError("boom"))
    assert "Traceback" in mux("status", MUX_DEBUG="1").stderr


def test_a_report_that_cannot_be_written_is_not_promised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    assert failures.tell_bug(ValueError("boom"), [blocker, blocker / "below"]) == 1
    assert "MUX_DEBUG=1" in capsys.readouterr().err


def test_ctrl_c_is_a_sentence(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, KeyboardInterrupt())
    result = mux("status")
    assert (result.exit_code, result.stderr) == (130, "\nInterrupted.\n")


def test_an_exit_keeps_its_code(mux: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, typer.Exit(10))
    assert mux("status").exit_code == 10


def test_a_reader_that_leaves_is_no_failure() -> None:
    result = subprocess.run(
        f"{sys.executable} -m mux_cli schema | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_root_is_the_lazy_group() -> None:
    assert command().name == "mux"
    assert root.info.name == "mux"


def test_a_wrong_choice_is_told_in_our_words(mux: Run) -> None:
    said = mux("logs", "--level", "WARN").stderr
    assert "'--level': 'WARN' is not one of" in said
