"""Standard streams that are closed, or that cannot take what is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUX = f"{sys.executable} -m mux_cli"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", ["schema", "--help"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", ">&- 2>&-"])
def test_a_closed_stream_is_as_if_nobody_read_it(arguments: str, closed: str) -> None:
    done = shell(f"{MUX} {arguments} {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_opened_does_not_take_a_closed_streams_place(tmp_path: Path) -> None:
    done = shell(f"cd {tmp_path} && {MUX} init . >&- 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "mux.yaml").read_text().strip()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line() -> None:
    done = shell(f"{MUX} schema > /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: The output cannot be written: No space left on device.\n")
