"""How long the logs of processes that are gone are kept."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

KEEP_BYTES: Final = 512 * 2**20
KEEP_FOLDERS: Final = 64  # one that dies at every start writes little, but often


def prune_logs(
    logs_dir: Path, live: Collection[Path], keep_bytes: int = KEEP_BYTES, keep_folders: int = KEEP_FOLDERS
) -> list[Path]:
    """Delete the folders of processes not in ``live``, the longest silent first, until the rest fits.

    Each replica writes to a folder of its own, so that restarts would fill the disk. Live folders count towards
    ``keep_bytes``, not towards ``keep_folders``, and are never deleted. Returns what was deleted.
    """
    sized = [_size(folder) for folder in logs_dir.iterdir() if folder.is_dir()] if logs_dir.is_dir() else []
    bytes_over = sum(size for _, _, size in sized) - keep_bytes
    dead = sorted((since, folder, size) for since, folder, size in sized if folder not in live)
    folders_over = len(dead) - keep_folders
    deleted: list[Path] = []
    for _, folder, size in dead:
        if bytes_over <= 0 and folders_over <= 0:
            break
        shutil.rmtree(folder, ignore_errors=True)
        deleted.append(folder)
        bytes_over -= size
        folders_over -= 1
    return deleted


def _size(folder: Path) -> tuple[float, Path, int]:
    """Return since when a folder is silent, itself, and its bytes; its files come and go meanwhile."""
    stats = []
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):
            stats.append(entry.stat())
    silent_since = max((stat.st_mtime for stat in stats), default=folder.stat().st_mtime)
    return silent_since, folder, sum(stat.st_size for stat in stats)
