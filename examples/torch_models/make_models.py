"""Write six sets of weights to ``models/{1..6}/model.pt``: ``python make_models.py [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from app import build


def make_models(folder: Path, ids: range = range(1, 7)) -> None:
    """Write one state dict per id, each from its own seed; files that exist are kept."""
    for number in ids:
        path = folder / str(number) / "model.pt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(number)
            torch.save(build().state_dict(), path)


if __name__ == "__main__":
    make_models(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "models")
