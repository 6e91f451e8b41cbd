"""The benchmarks can be run; what they measure is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import decision_time

ROOT = Path(decision_time.__file__).resolve().parent.parent
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")


def run(*arguments: str) -> str:
    """Return what a fresh interpreter in the checkout prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


def test_every_benchmark_can_be_imported() -> None:
    assert "hot_path" in MODULES
    assert run("-c", "\n".join([*(f"import benchmarks.{name}" for name in MODULES), "print('all')"])) == "all\n"


def test_the_hot_path_is_linked_to_its_replica_and_ends() -> None:
    assert run("-m", "benchmarks.hot_path", "--rounds", "3").startswith("router: ")
    assert run("-m", "benchmarks.hot_path", "--rounds", "3", "--replica").startswith("replica: ")


def test_the_feed_of_decision_time_loads_and_serves() -> None:
    warm = decision_time.measure(3, 30, 300, fresh=0.0, skewed=False, warm_up=2)
    assert warm.us > 0.0
    assert warm.loads == 0.0
    cold = decision_time.measure(3, 30, 300, fresh=0.3, skewed=True, warm_up=2)
    assert cold.us > 0.0
    assert cold.loads > 0.05
    assert decision_time.bytes_per_model(1000) > 0.0
