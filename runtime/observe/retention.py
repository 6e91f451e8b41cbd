"""How long the logs of processes that are gone are kept."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

KEEP_BYTES: Final = 512 * 2**20


def prune_logs(logs_dir: Path, live: Collection[Path], keep_bytes: int = KEEP_BYTES) -> list[Path]:
    """Delete the folders of processes not in ``live``, the longest silent first, until the rest fits.

    Each replica writes to a folder of its own, so that restarts would fill the disk. Live folders count towards
    ``keep_bytes`` and are never deleted. Returns what was deleted.
    """
    sized = []
    for folder in logs_dir.iterdir() if logs_dir.is_dir() else ():
        if folder.is_dir():
            stats = [entry.stat() for entry in folder.iterdir()]
            silent_since = max((stat.st_mtime for stat in stats), default=folder.stat().st_mtime)
            sized.append((silent_since, folder, sum(stat.st_size for stat in stats)))
    over = sum(size for _, _, size in sized) - keep_bytes
    deleted: list[Path] = []
    for _, folder, size in sorted(sized):
        if over <= 0:
            break
        if folder not in live:
            shutil.rmtree(folder, ignore_errors=True)
            deleted.append(folder)
            over -= size
    return deleted
