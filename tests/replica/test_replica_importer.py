"""Whose fault it is that an import failed, and tracebacks that begin in the user's file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.errors import StartError
from runtime.replica.importer import describe, import_object, user_place, user_traceback
from runtime.replica.size import size_bytes

App = Callable[[str], str]


def test_finds_nested_attributes(app: App, short_dir: Path) -> None:
    name = app("class A:\n    class B:\n        c = 5\n")
    assert import_object(f"{name}:A.B.c", "loader", str(short_dir)) == 5


@pytest.mark.parametrize("path", ["nowhere_at_all:x", "nowhere_at_all.inner:x"])
def test_a_missing_module_is_not_its_own_import_failure(path: str) -> None:
    with pytest.raises(StartError, match="there is no module") as caught:
        import_object(path, "loader", "/somewhere")
    assert caught.value.traceback == ""


def test_a_failing_import_shows_the_users_traceback(app: App, short_dir: Path) -> None:
    name = app("import json\n\ndef f():\n    import not_installed_here\n\nf()\n")
    with pytest.raises(StartError, match="No module named 'not_installed_here'") as caught:
        import_object(f"{name}:x", "loader", str(short_dir))
    lines = caught.value.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].strip() == f'File "{short_dir}/{name}.py", line 6, in <module>'


def test_a_misspelt_name_gets_a_suggestion(app: App, short_dir: Path) -> None:
    name = app("def load_model(model_id):\n    pass\n")
    with pytest.raises(StartError) as caught:
        import_object(f"{name}:load_modle", "loader", str(short_dir))
    assert caught.value.hint == "did you mean 'load_model'?"


def test_causes_are_trimmed_too(app: App, short_dir: Path) -> None:
    name = app("""
        def inner():
            1 / 0

        def outer():
            try:
                inner()
            except ZeroDivisionError as exc:
                raise ValueError("outer") from exc
    """)
    outer = import_object(f"{name}:outer", "loader", str(short_dir))
    with pytest.raises(ValueError, match="outer") as caught:
        outer()
    text = user_traceback(caught.value)
    assert "ZeroDivisionError" in text
    assert "The above exception was the direct cause" in text
    assert user_place(caught.value) == (f"{name}.py", 9)


def test_our_frames_between_the_users_are_left_out_and_the_last_ones_stay(app: App, short_dir: Path) -> None:
    name = app("def handler(ours):\n    ours(loader)\n\ndef loader():\n    1 / 0\n\ndef wrong(ours):\n    ours(0)\n")
    ours: dict[str, Any] = {}
    exec(compile("def call(f):\n    f()\n", str(Path(runtime.__file__).parent / "between.py"), "exec"), ours)
    for function, files in (("handler", [f"{name}.py"] * 2), ("wrong", [f"{name}.py", "between.py"])):
        with pytest.raises((ZeroDivisionError, TypeError)) as caught:
            import_object(f"{name}:{function}", "loader", str(short_dir))(ours["call"])
        places = re.findall(r'File "(.+)", line', user_traceback(caught.value))
        assert [place.rpartition("/")[2] for place in places if place != __file__] == files


def test_describes_in_one_line() -> None:
    assert describe(ValueError("first\nsecond")) == "ValueError: first"
    assert describe(KeyError()) == "KeyError"


def test_sizes_are_declared_counted_or_the_files(tmp_path: Path) -> None:
    class Declared:
        size_bytes = 7

    class Asked:
        def size_bytes(self) -> int:
            return 9

    file = tmp_path / "model.bin"
    file.write_bytes(bytes(11))
    assert [size_bytes(model) for model in (Declared(), Asked(), object(), memoryview(bytes(5)))] == [7, 9, 0, 5]
    assert size_bytes({"a": memoryview(bytes(5)), "b": memoryview(bytes(6))}) == 11
    assert size_bytes(object(), file) == 11
    assert size_bytes(object(), tmp_path) == 11
