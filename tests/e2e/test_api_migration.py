"""The migration guide and its example say the same, and an application ports by its imports alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import EXAMPLES

FOLDER = EXAMPLES / "migrated_from_ray"
GUIDE = (EXAMPLES.parent / "docs" / "migrating.md").read_text()
BEFORE = sorted((FOLDER / "before").glob("*.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", GUIDE, re.M | re.S)


def split(code: str) -> tuple[list[str], list[str]]:
    """Return the imports, in any order, and all other lines."""
    lines = [line for line in code.splitlines() if line]
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    return sorted(imports), [line for line in lines if line not in imports]


@pytest.mark.parametrize("before", BEFORE, ids=lambda path: path.name)
def test_only_the_imports_of_ray_change(before: Path) -> None:
    old_imports, old = split(before.read_text())
    new_imports, new = split((FOLDER / before.name).read_text())
    assert new == old
    assert any(line.startswith("from ray") for line in old_imports)
    assert new_imports == sorted(re.sub(r"^from ray( import|\.serve)", _ported, line) for line in old_imports)


def _ported(found: re.Match[str]) -> str:
    return {" import": "from runtime import", ".serve": "from runtime.serve"}[found[1]]


def test_the_guide_shows_every_application_as_it_was() -> None:
    assert sorted(blocks("py")) == sorted(path.read_text().rstrip() for path in BEFORE)


def test_the_guides_yaml_is_that_of_the_example() -> None:
    whole = yaml.safe_load((FOLDER / "mux.yaml").read_text().replace("${PORT:-8000}", "8000"))["deployments"]
    shown = [each for block in blocks("yaml") for each in yaml.safe_load(block)["deployments"]]
    from_the_example = [each for each in shown if "import_path" in each]
    assert from_the_example == [each for each in whole if each["name"] != "Prices"]


def test_the_guides_diff_is_the_change_of_the_imports() -> None:
    [diff] = blocks("diff")
    removed = [line[1:] for line in diff.splitlines() if line.startswith("-")]
    added = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    assert added == [re.sub(r"^from ray( import|\.serve)", _ported, line) for line in removed]
