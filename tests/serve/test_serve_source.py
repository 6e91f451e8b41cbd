"""How ``serve.run`` finds the import path of an application, and what it says where there is none."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from runtime import serve
from runtime.config import Config
from runtime.serve.application import Application
from runtime.serve.session import deployments_of, refuse_clashes
from runtime.serve.source import Source, find_source, names_on_import

CODE = """
from runtime import serve

@serve.deployment(num_replicas=3, max_ongoing_requests=7, user_config={"a": 1})
class Model:
    def __init__(self, size=1): ...
    def reconfigure(self, config): ...

@serve.deployment
class Front:
    def __init__(self, model): ...

app = Front.bind(Model.bind(2))
if __name__ == "__main__":
    guarded = Front.bind(Model.bind(3))
"""

Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Write ``CODE`` to a file and import it as a module of a given name."""
    before = dict(sys.modules)

    def run(name: str, file: str, code: str = CODE) -> ModuleType:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield run
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules["__main__"] = before["__main__"]


def test_a_variable_of_a_module(load: Load, tmp_path: Path) -> None:
    module = load("shop_app", "shop_app.py")
    assert find_source(module.app) == Source("shop_app:app", tmp_path, tmp_path / "shop_app.py")


def test_a_variable_of_a_module_in_a_package(load: Load, tmp_path: Path) -> None:
    module = load("shop.code.app", "shop/code/app.py")
    assert find_source(module.app) == Source("shop.code.app:app", tmp_path, tmp_path / "shop")
    package = load("store", "store/__init__.py")
    assert find_source(package.app) == Source("store:app", tmp_path, tmp_path / "store")


def test_a_script_is_imported_by_its_files_name(load: Load, tmp_path: Path) -> None:
    module = load("__main__", "script.py")
    assert find_source(module.app) == Source("script:app", tmp_path, tmp_path / "script.py")


def test_a_deployment_bound_without_arguments_needs_no_variable(load: Load) -> None:
    module = load("shop_app", "shop_app.py")
    assert find_source(module.Model.bind()).import_path == "shop_app:Model"


@pytest.mark.parametrize("name", ["guarded", "inline"])
def test_what_replicas_could_not_import_says_what_to_write(load: Load, name: str) -> None:
    module = load("__main__", "script.py")
    app: Application = module.guarded if name == "guarded" else module.Front.bind(module.Model.bind())
    with pytest.raises(ValueError, match=r"app = Front\.bind\(\.\.\.\)"):
        find_source(app)


def test_a_notebook_is_told_to_write_a_file(load: Load) -> None:
    module = load("__main__", "script.py")
    module.__file__ = None
    with pytest.raises(ValueError, match="%%writefile"):
        find_source(module.app)


def test_names_on_import() -> None:
    text = """
import a.b, c as d
from e import f as g
x: int = 1
(y, [z]) = 1, [2]
try:
    t = 1
except ValueError:
    u = 2
else:
    v = 3
for i in (): j = i
with open("") as w: pass
if x:
    k = 1
if "__main__" == __name__:
    hidden = 1
else:
    l = 2
def m(): n = 1
class O: p = 1
match x:
    case 1: q = 1
"""
    expected = {"a", "d", "g", "x", "y", "z", "t", "u", "v", "i", "j", "w", "k", "l", "m", "O", "q"}
    assert names_on_import(text) == expected


def test_the_config_says_what_the_code_says(load: Load) -> None:
    module = load("shop_app", "shop_app.py")
    found = deployments_of(module.app, "web", "/shop", find_source(module.app))
    assert found == [
        {"name": "Model", "application": "web", "import_path": "shop_app:app", "route_prefix": None,
         "num_replicas": 3, "max_ongoing_requests": 7},
        {"name": "Front", "application": "web", "import_path": "shop_app:app", "route_prefix": "/shop",
         "num_replicas": 1},
    ]  # fmt: skip
    assert len(Config.model_validate({"name": "shop", "deployments": found}).deployments) == 2


def test_a_second_application_takes_no_name_and_no_route_of_the_first(load: Load) -> None:
    module = load("shop_app", "shop_app.py")
    source = find_source(module.app)
    there = {"web": deployments_of(module.app, "web", "/shop", source)}
    refuse_clashes("web", there["web"], there)  # the same application again
    with pytest.raises(ValueError, match=r"'again' has a deployment called 'Model', as 'web' has.*options\(name="):
        refuse_clashes("again", deployments_of(module.app, "again", "/again", source), there)
    renamed = [{**one, "name": f"{one['name']}2"} for one in there["web"]]
    with pytest.raises(ValueError, match="the route_prefix '/shop', as 'web' has"):
        refuse_clashes("again", renamed, there)
    refuse_clashes("again", [{**one, "route_prefix": None} for one in renamed], there)


class TestRun:
    def test_it_takes_an_application(self) -> None:
        wrong: Any = object()
        with pytest.raises(TypeError, match="takes an application"):
            serve.run(wrong)

    def test_options_of_start_are_those_of_http(self) -> None:
        from runtime.serve.session import session

        try:
            serve.start(http_options={"port": 8001})
            assert session.http == {"port": 8001}
            with pytest.raises(ValueError, match="prot"):
                serve.start(http_options={"prot": 8001})
        finally:
            session.http = {}

    def test_an_argument_without_a_meaning_here_is_refused_by_name_with_a_reason(self) -> None:
        run, start = cast(Any, serve.run), cast(Any, serve.start)
        serve.start()
        with pytest.raises(TypeError, match=r"serve.run\(\) has no 'logging_config' here: .*mux logs"):
            run(None, logging_config={})
        with pytest.raises(TypeError, match=r"serve.start\(\) has no 'proxy_location' here: .*routers"):
            start(proxy_location="EveryNode")
        with pytest.raises(TypeError, match="no argument 'blokking'"):
            run(None, blokking=True)

    def test_without_anything_running(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MUX_HOME", str(tmp_path))
        monkeypatch.delenv("MUX_PROJECT", raising=False)
        monkeypatch.chdir(tmp_path)
        assert serve.status() == serve.ServeStatus()
        serve.shutdown()
        with pytest.raises(serve.exceptions.MuxError, match="no application 'x'"):
            serve.delete("x")
        with pytest.raises(serve.exceptions.MuxError, match="no project"):
            serve.get_app_handle()
        with pytest.raises(serve.exceptions.MuxError, match="no project"):
            serve.get_deployment_handle("Model")
