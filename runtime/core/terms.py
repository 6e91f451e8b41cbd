"""The terms that both state machines share: keys, states, failures, what a replica publishes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, NamedTuple

from msgspec import Struct

ModelState = Literal["absent", "fetching", "loading", "resident", "draining", "unloading", "abandoned", "failed"]
WantKind = Literal["cold", "copy", "admin"]
RefusalReason = Literal["absent", "full", "draining", "failed"]
UnloadReason = Literal["evicted", "idle", "admin", "shutdown", "abandoned", "over_budget"]

Request = Hashable  # router side: an int; replica side: (link, stream)
LinkId = int


class Key(NamedTuple):
    """A model in one cache of a replica (one cache per multiplexed loader, numbered from 0)."""

    cache: int
    model: str


class Failure(Struct, frozen=True):
    """Why a request or a load failed: ``code`` is one of ``runtime.errors``."""

    code: str
    message: str
    retry_after_s: float | None = None


class ModelStatus(Struct, frozen=True):
    """One model on one replica, as its owner publishes it."""

    model: str
    state: ModelState
    load_s: float = 0.0
    size_bytes: int = 0
    failure: Failure | None = None


class Summary(NamedTuple):
    """A replica's load, quantised; ages, never timestamps."""

    in_flight: int = 0
    free_slots: int = 0
    evictable: int = 0
    stuck: int = 0
    coldness: int = 0
    wants: int = 0


class Woken(Struct):
    """The moment that ``deadline()`` named has come."""
