"""Where replicas find an application again: the module variable that ``serve.run`` was given, as an import path."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from runtime.serve.application import Application

GUARD = 'if __name__ == "__main__":'


@dataclass(frozen=True, slots=True)
class Source:
    """``import_path`` as ``module:variable``, importable from ``root``; ``anchor`` is what lies directly in it."""

    import_path: str
    root: Path
    anchor: Path


def find_source(app: Application) -> Source:
    """Return where ``app`` can be imported from. Raises ``ValueError`` that says how to make it so.

    Replicas are processes of their own that import the script's module, so the application must be a variable of a
    module, outside ``if __name__ == "__main__":``. ``Model.bind()`` without arguments need not be: ``Model`` will do.
    """
    for module, name in _holders(app):
        file = Path(getattr(module, "__file__", None) or "")
        if not file.is_file():
            raise ValueError(
                f"{name} is defined in {module.__name__}, which has no file: replicas cannot import it. In a notebook, "
                "write the code to app.py (%%writefile app.py), then `from app import app; serve.run(app)`"
            )
        if module.__name__ != "__main__":
            return _of_module(module, name, file.resolve())
        if name in names_on_import(file.read_text()):
            return Source(f"{file.stem}:{name}", file.resolve().parent, file.resolve())
    raise ValueError(
        f"replicas import the application, but no variable of a module holds this one: write `app = "
        f"{app.deployment.name}.bind(...)` at the top level of the file, and `serve.run(app)` below `{GUARD}`"
    )


def _holders(app: Application) -> Iterator[tuple[ModuleType, str]]:
    """Yield the module variables that are the application, then those that are its deployment if that is the same."""
    plain = not app.args and not app.kwargs
    for wanted in (app, app.deployment if plain else None):
        for module in list(sys.modules.values()):
            if wanted is None or not isinstance(module, ModuleType):
                continue
            for name, value in list(vars(module).items()):
                if value is wanted and not name.startswith("_"):
                    yield module, name


def _of_module(module: ModuleType, name: str, file: Path) -> Source:
    parts = module.__name__.split(".")
    is_package = file.name == "__init__.py"
    root = file.parents[len(parts) - (0 if is_package else 1)]
    anchor = root / parts[0] if len(parts) > 1 or is_package else file
    return Source(f"{module.__name__}:{name}", root, anchor)


def names_on_import(text: str) -> set[str]:
    """Return the names that a file's top level binds when it is imported rather than run."""
    found: set[str] = set()
    waiting: list[ast.stmt] = list(ast.parse(text).body)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.If) and _is_main_guard(statement.test):
            waiting.extend(statement.orelse)
            continue
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(statement.name)
            continue
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, ast.stmt):
                waiting.append(node)
            elif isinstance(node, ast.ExceptHandler | ast.match_case):
                waiting.extend(node.body)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).partition(".")[0])
            else:
                found.update(
                    name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                )
    return found


def _is_main_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.comparators) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    names = {side.id for side in sides if isinstance(side, ast.Name)}
    return "__name__" in names and any(isinstance(side, ast.Constant) for side in sides)
