"""Which of the pinned and preloaded models a replica holds: a pure function of its index."""

from __future__ import annotations

from collections.abc import Sequence


def copies_for(models: Sequence[str], copies: int | None, index: int, replicas: int) -> list[str]:
    """Return the models out of ``models`` that replica ``index`` of ``replicas`` loads before it is ready.

    ``copies`` None: every replica holds every model. Else the copies are dealt round-robin, so that two replicas
    differ by at most one model, and a model never twice to one replica.
    """
    unique = list(dict.fromkeys(models))
    if copies is None or copies >= replicas:
        return unique
    return [model for number, model in enumerate(unique) if (index - number * copies) % replicas < copies]
