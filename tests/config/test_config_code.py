"""Code is found and followed without being run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from runtime.config.code import code_digests
from runtime.config.models import Config
from runtime.config.modules import code_fault, find_module, top_level_names


def config(**deployment: str) -> Config:
    return Config.model_validate({"deployments": [{"name": "M", **deployment}]})


def files(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise SystemExit('this is never run')\n{content}")


def digested(whole: Config, folder: Path) -> list[str]:
    return list(code_digests(whole, folder)["M"])


def test_local_imports_are_followed_at_any_depth(tmp_path: Path) -> None:
    files(
        tmp_path,
        app="import json, torch, features\nfrom nets.deep import net\ndef load(): import late",
        features="import app",
        late="",
        unused="",
        nets__deep="from . import sibling\nfrom .other.leaf import x\nfrom .. import nothing",
        nets__sibling="from .other import leaf",
        nets__other__leaf="",
    )
    (tmp_path / "nets" / "__init__.py").write_text("")
    assert digested(config(loader="app:load"), tmp_path) == [
        "app.py", "features.py", "late.py", "nets/__init__.py", "nets/deep.py", "nets/other/leaf.py", "nets/sibling.py",
    ]  # fmt: skip


def test_each_import_path_is_a_start(tmp_path: Path) -> None:
    files(tmp_path, a="", b="", c="", d="")
    whole = config(loader="a:x", handler="b:x", unloader="c:x")
    assert digested(whole, tmp_path) == ["a.py", "b.py", "c.py"]


def test_a_digest_follows_the_content(tmp_path: Path) -> None:
    files(tmp_path, app="import other", other="")
    before = code_digests(config(loader="app:load"), tmp_path)["M"]
    files(tmp_path, other="x = 1")
    after = code_digests(config(loader="app:load"), tmp_path)["M"]
    assert before["app.py"] == after["app.py"]
    assert before["other.py"] != after["other.py"]


def test_an_installed_module_counts_only_if_it_is_named(tmp_path: Path) -> None:
    files(tmp_path, app="import yaml")
    assert digested(config(loader="app:load"), tmp_path) == ["app.py"]
    (name,) = digested(config(loader="textwrap:dedent"), tmp_path)
    assert name.endswith("/textwrap.py")


def test_broken_and_missing_code_has_no_more_than_itself(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import other\ndef load(:")
    assert digested(config(loader="app:load", handler="nowhere:x"), tmp_path) == ["app.py"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(): ...\nasync def g(): ...\nclass C: x = 1", {"f", "g", "C"}),
        ("a = b = 1\nc: int = 2\n(d, *e), f[0] = x", {"a", "b", "c", "d", "e"}),
        ("import a.b, c as d\nfrom e import f as g", {"a", "d", "g"}),
        ("if x:\n  a = 1\nelse:\n  b = 1", {"a", "b"}),
        ("try:\n  import a\nexcept E:\n  a = None\nfinally:\n  b = 1", {"a", "b"}),
        ("with x as y:\n  def f(): ...", {"y", "f"}),
        ("match x:\n  case 1:\n    def f(): ...", {"f"}),
        ("for i in x:\n  a = 1", {"i", "a"}),
        ("def f():\n  inner = 1", {"f"}),
        ("from x import *", None),
        ("def __getattr__(name): ...", None),
        ("globals()['f'] = 1", None),
    ],
)
def test_what_a_module_defines(code: str, names: set[str] | None) -> None:
    assert top_level_names(ast.parse(code)) == names


def test_the_config_s_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")
    assert find_module("json", tmp_path) == tmp_path / "json.py"
    assert find_module("json.decoder", tmp_path) is not None
    assert find_module("math", tmp_path) is not None
    assert find_module("sys", tmp_path) is not None
    assert find_module("nowhere.x", tmp_path) is None
    assert find_module("json.nowhere", tmp_path) is None


def test_packages_namespaces_and_submodules(tmp_path: Path) -> None:
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text("a = 1")
    (tmp_path / "pkg" / "sub" / "leaf.py").write_text("class A:\n  def b(): ...")
    assert code_fault("pkg:a", tmp_path) is None
    assert code_fault("pkg:sub", tmp_path) is None
    assert code_fault("pkg.sub.leaf:A.b", tmp_path) is None
    fault = code_fault("pkg.sub.leaf:B", tmp_path)
    assert fault is not None
    assert (fault.message, fault.hint) == ("leaf.py has no 'B'", "it defines A")
    fault = code_fault("pgk:a", tmp_path)
    assert fault is not None
    assert (fault.message, fault.hint) == ("there is no module 'pgk'", "did you mean 'pkg'?")
