"""How a child process finds this package, and no other of the same name."""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

import runtime


def with_own_package(env: Mapping[str, str], cwd: str) -> dict[str, str]:
    """Return ``env`` with a PYTHONPATH under which ``import runtime`` finds this package.

    It is left alone where the package is installed, so that site-packages does not come before the standard
    library; unless a folder on it holds another ``runtime``.
    """
    root = Path(runtime.__file__).parents[1]
    entries = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    installed = root in {Path(entry) for entry in [*site.getsitepackages(), site.getusersitepackages()]}
    shadowed = any((Path(cwd, entry) / "runtime").exists() for entry in entries)
    if installed and not shadowed:
        return dict(env)
    others = [entry for entry in entries if entry != str(root)]
    return {**env, "PYTHONPATH": os.pathsep.join([str(root), *others])}
