"""The page that names the tests of each line of the contract: they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LINES = [line for line in (TESTS.parent / "docs/contract.md").read_text().splitlines() if "::test_" in line]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:40])
def test_the_tests_of_a_line_exist(line: str) -> None:
    file = ""
    for named, test in re.findall(r"`([\w/.]*)::(test_\w+)`", line):
        file = named or file
        assert re.search(rf"def {test}\(", (TESTS / file).read_text()), f"{file} has no {test}"


def test_every_line_names_a_test() -> None:
    rows = [line for line in (TESTS.parent / "docs/contract.md").read_text().splitlines() if line.startswith("| ")]
    assert len(LINES) == len(rows) - 2  # the heads of the two tables
