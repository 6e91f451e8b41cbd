"""How much memory a model takes, as far as it can be told without importing anything."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def size_bytes(model: Any, path: Path | None = None) -> int:
    """Return the model's size in bytes; 0 if nothing tells.

    In order: its own ``size_bytes`` (attribute or method), the parameters and buffers of a torch module, the
    tensors and arrays in it (itself, or the values of a dict), and the size of the file it was loaded from.
    """
    declared = getattr(model, "size_bytes", None)
    if callable(declared) and not isinstance(model, type):
        declared = declared()
    if isinstance(declared, int) and declared > 0:
        return declared
    return _held_bytes(model) or _file_bytes(path)


def _held_bytes(model: Any) -> int:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _sum_storages([*model.parameters(), *model.buffers()])
    return _sum_storages(model.values() if isinstance(model, dict) else [model])


def _sum_storages(values: Iterable[Any]) -> int:
    """Sum ``nbytes``, counting values that share memory (tied weights) once."""
    seen: dict[object, int] = {}
    for value in values:
        size = getattr(value, "nbytes", None)
        if isinstance(size, int):
            pointer = getattr(value, "data_ptr", None)
            seen[pointer() if callable(pointer) else id(value)] = size
    return sum(seen.values())


def _file_bytes(path: Path | None) -> int:
    if path is None or not path.exists():
        return 0
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size
