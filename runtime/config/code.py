"""Digests of the code behind a configuration, so that an edited module counts as a change."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from runtime.config.models import Config, Deployment
from runtime.config.modules import find_module


def code_digests(config: Config, config_dir: Path) -> dict[str, dict[str, str]]:
    """Return per deployment the files that its import paths lead to and a digest of each.

    These are the modules that are named and, followed through their import statements without running them, all
    modules below ``config_dir``. A file is named by its path from there. What is imported by a computed name is
    not seen; installed packages are left out but for a module that an import path names itself.
    """
    folder = config_dir.absolute()
    return {deployment.name: _digests(deployment, folder) for deployment in config.deployments}


def _digests(deployment: Deployment, folder: Path) -> dict[str, str]:
    targets = (deployment.import_path, deployment.loader, deployment.handler, deployment.unloader)
    digests: dict[str, str] = {}
    waiting = [module for target in targets if target for module in _chain(target.partition(":")[0])]
    named = set(waiting)
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        file = find_module(module, folder) if module in named else _local(module, folder)
        if module in seen or file is None or not file.is_file():
            continue
        seen.add(module)
        inside = file.is_relative_to(folder)
        content = file.read_bytes()
        name = file.relative_to(folder).as_posix() if inside else str(file)
        digests[name] = hashlib.blake2s(content, digest_size=16).hexdigest()
        if inside and file.suffix == ".py":
            waiting += [part for name in imports(content, module, file) for part in _chain(name)]
    return dict(sorted(digests.items()))


def _local(module: str, folder: Path) -> Path | None:
    """Return a module's file if it is below ``folder``; ``sys.path`` is not searched."""
    if not (folder / module.split(".")[0]).is_dir() and not (folder / f"{module.split('.')[0]}.py").is_file():
        return None
    file = find_module(module, folder)
    return file if file is not None and file.is_relative_to(folder) else None


def _chain(module: str) -> list[str]:
    """Return a dotted module name with the packages that it lies in: their ``__init__.py`` runs too."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def imports(content: bytes, module: str, file: Path) -> Iterator[str]:
    """Yield the absolute names of what a module's import statements, at any depth, may import."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return  # the file itself is in the digests; running it will say what is wrong
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")


def _base(node: ast.ImportFrom, package: str) -> str:
    """Return the absolute name of what is imported from: each dot beyond the first goes up one package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parents = parts[: len(parts) - (node.level - 1)] if node.level > 1 else parts
    return ".".join([*parents, *([node.module] if node.module else [])])
