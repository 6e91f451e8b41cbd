"""One architecture, many weights: a small PyTorch network per shop."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def build() -> nn.Module:
    """Return the architecture that every model shares; the files hold only its weights."""
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))


def load_model(model_id: str, path: Path) -> nn.Module:
    """Load the weights of one model. mux calls this when ``model_id`` is first asked for on a replica."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True, mmap=True), assign=True)
    return model.eval()
