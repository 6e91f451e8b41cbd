"""Who is unloaded first: pure policies, selected by name.

A policy maps what is known about an idle model to its worth; the model of least worth goes first. Which models may
go at all (never leased, claimed or pinned ones) is not a policy's business.

``lru``
    The least recently used goes first, except that a model used once in living memory goes before every model that
    was used again (a scan of ids does not flush the warm set). The default: easy to predict, good when interest
    moves quickly.
``lfu``
    Frequency with exponential ageing (LRFU, Lee et al. 2001): best hit rate where popularity is skewed and steady.
``gdsf``
    The aged frequency times the measured seconds of a load, per byte of size (GreedyDual-Size-Frequency, Cherkasova
    1998): best when load times or sizes differ by a lot; with equal costs and sizes it decides as ``lfu`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log2
from typing import Final, NamedTuple


class Standing(NamedTuple):
    """What is known about one idle model. ``frequency``: uses, each halved per ageing period that has passed."""

    idle_s: float
    uses: int
    frequency: float
    load_s: float
    size_bytes: int


Worth = tuple[float, ...]


class Policy(NamedTuple):
    """A policy as two pure functions of a model's standing.

    ``worth`` orders the models of one replica, the least goes first; ``coldness`` is what a replica publishes of
    its next victim so that the pool evicts its coldest model: a small int, larger is colder.
    """

    worth: Callable[[Standing], Worth]
    coldness: Callable[[Standing], int]


def _bucket(value: float) -> int:
    """Return the log2 bucket of ``value``, 0 for anything up to 1, at most 31."""
    return min(31, max(0, int(log2(max(value, 1.0)))))


def _lru(standing: Standing) -> Worth:
    return (float(standing.uses > 1), -standing.idle_s)


def _lru_coldness(standing: Standing) -> int:
    return _bucket(standing.idle_s * 1000.0) + (32 if standing.uses < 2 else 0)


def _lfu(standing: Standing) -> Worth:
    return (standing.frequency, -standing.idle_s)


def _lfu_coldness(standing: Standing) -> int:
    return _bucket(2.0**31 / (1.0 + standing.frequency * 1024.0))


def _cost(standing: Standing) -> float:
    return standing.frequency * max(standing.load_s, 1e-3) / max(standing.size_bytes, 1)


def _gdsf(standing: Standing) -> Worth:
    return (_cost(standing), -standing.idle_s)


def _gdsf_coldness(standing: Standing) -> int:
    per_second = standing.frequency * max(standing.load_s, 1e-3)
    return _bucket(2.0**31 / (1.0 + per_second * 1024.0))


POLICIES: Final[Mapping[str, Policy]] = {
    "lru": Policy(_lru, _lru_coldness),
    "lfu": Policy(_lfu, _lfu_coldness),
    "gdsf": Policy(_gdsf, _gdsf_coldness),
}
