"""Each incarnation of a replica logs into a folder of its own; those of the long gone are dropped."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

KEPT_FOLDERS: Final = 32


def drop_old_logs(logs: Path, in_use: Collection[Path], keep: int = KEPT_FOLDERS) -> None:
    """Remove all but the ``keep`` newest log folders of replicas that are no more."""
    gone = [folder for folder in logs.glob("*-??????") if folder not in in_use]
    if len(gone) > keep:
        gone.sort(key=_newest_entry)
        for folder in gone[:-keep]:
            shutil.rmtree(folder, ignore_errors=True)


def _newest_entry(folder: Path) -> float:
    return max((entry.stat().st_mtime for entry in folder.iterdir()), default=folder.stat().st_mtime)
