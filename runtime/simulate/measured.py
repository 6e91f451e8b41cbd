"""How long loads and requests took, as the logs tell: what to simulate with when nobody says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from runtime.observe.events import MODEL_LOADED, REQUEST_ACCESS
from runtime.simulate.histogram import Histogram
from runtime.simulate.trace import DAMAGED, Access, damaged, opened

_ACCESS: Final = f'"{REQUEST_ACCESS}"'.encode()
_LOADED: Final = f'"{MODEL_LOADED}"'.encode()


class _Loaded(msgspec.Struct):
    """What is read of a replica's line about a finished load."""

    deployment: str = ""
    load_s: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians; None where the log has nothing to go by. ``model_bytes`` is the mean size of a loaded model."""

    load_s: float | None
    work_s: float | None
    model_bytes: int


def measured(path: Path, *, deployment: str = "") -> Measured:
    """Return what the logs under ``path`` (a folder, or one file) tell of one deployment, or of all.

    Raises ``TraceError``.
    """
    found = sorted(path.rglob("*.jsonl*")) if path.is_dir() else [path]
    loads, works, sizes = Histogram(), Histogram(), 0
    for line in (line for file in found for line in _lines(file)):
        try:
            if _ACCESS in line:
                _work(msgspec.json.decode(line, type=Access), deployment, works)
            elif _LOADED in line:
                sizes += _load(msgspec.json.decode(line, type=_Loaded), deployment, loads)
        except msgspec.MsgspecError:
            continue  # torn by a crash
    return Measured(
        round(loads.percentile(0.5), 6) if loads.count else None,
        round(works.percentile(0.5), 6) if works.count else None,
        sizes // loads.count if loads.count else 0,
    )


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with opened(file) as lines:
            yield from lines
    except DAMAGED as exc:
        raise damaged(file, exc) from exc


def _work(line: Access, deployment: str, works: Histogram) -> None:
    """Count what a request took beyond its wait. The wait for a load is part of ``queue_ms``."""
    if line.deployment and deployment in ("", line.deployment) and line.cache == "hit":
        works.add(max(0.0, line.ms - line.queue_ms) / 1000.0)


def _load(line: _Loaded, deployment: str, loads: Histogram) -> int:
    if deployment in ("", line.deployment) and line.load_s > 0.0:
        loads.add(line.load_s)
        return line.size_bytes
    return 0
