"""Where the code of an import path lies, seen without importing it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

from runtime.config.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class CodeFault:
    """Why an import path leads nowhere."""

    message: str
    hint: str = ""


def find_module(name: str, folder: Path) -> Path | None:
    """Return the file of the module ``name``, the config's folder first, then ``sys.path``; None if there is none.

    A folder without ``__init__.py`` (a namespace package) and a compiled module are returned as they are.
    """
    local = _below(name.split("."), folder)
    return local if local is not None else _installed(name)


def _below(parts: Sequence[str], folder: Path) -> Path | None:
    place = folder.joinpath(*parts)
    if (place / "__init__.py").is_file():
        return place / "__init__.py"
    for suffix in (".py", *EXTENSION_SUFFIXES):
        if (file := place.with_name(place.name + suffix)).is_file():
            return file
    return place if place.is_dir() else None


def _installed(name: str) -> Path | None:
    search: Sequence[str] | None = None
    origin: Path | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), search)
        if spec is None:
            built_in = count == 1 and parts[0] in sys.builtin_module_names
            return Path(parts[0]) if built_in else None
        search = list(spec.submodule_search_locations or ())
        origin = Path(spec.origin) if spec.origin and spec.has_location else Path(search[0] if search else name)
    return origin


def code_fault(target: str, folder: Path) -> CodeFault | None:
    """Return why ``module:name`` leads nowhere; None if it does, or if only running the code could tell."""
    module, _, attribute = target.partition(":")
    file = find_module(module, folder)
    if file is None:
        hint = did_you_mean(module, local_modules(folder)) or f"import paths start from {str(folder)!r}"
        return CodeFault(f"there is no module {module!r}", hint)
    if file.suffix != ".py":
        return None
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as exc:
        return CodeFault(f"{file.name}:{exc.lineno or 1}:{exc.offset or 1}: {exc.msg}")
    except (OSError, ValueError) as exc:
        return CodeFault(f"{file.name} cannot be read: {exc}")
    names = top_level_names(tree)
    first = attribute.split(".")[0]
    if names is None or first in names or _below([first], file.parent) is not None:
        return None
    public = sorted(name for name in names if not name.startswith("_"))
    hint = did_you_mean(first, public)
    if not hint:
        hint = f"it defines {', '.join(public[:8])}" if public else "it defines nothing"
    return CodeFault(f"{file.name} has no {first!r}", hint)


def local_modules(folder: Path) -> list[str]:
    """Return the names of the modules and packages right under ``folder``."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    files = [entry.stem for entry in entries if entry.suffix == ".py" and entry.stem.isidentifier()]
    return files + [entry.name for entry in entries if (entry / "__init__.py").is_file()]


def top_level_names(tree: ast.Module) -> set[str] | None:
    """Return what a module defines; None where that cannot be seen (``import *``, ``__getattr__``, ``globals()``)."""
    names: set[str] = set()
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            return None
        names.update(_defined(statement))
    hidden = any(isinstance(node, ast.Name) and node.id in ("globals", "exec", "vars") for node in ast.walk(tree))
    return None if hidden or "__getattr__" in names else names


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module that run in its own scope, those inside ``if``, ``try`` and ``with`` too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, part, ()))
        for inner in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _statements(inner.body)


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
