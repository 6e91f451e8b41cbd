"""Failures remembered for a growing, bounded time, in a bounded table; both state machines keep one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from runtime.core.events import Failure, Key

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Remembered:
    """``until``: answered from memory before it; ``count``: failures in a row; ``where``: a mask of replicas."""

    failure: Failure
    until: float
    count: int
    where: int = 0


class FailureMemory(Generic[K]):
    """What failed lately. The delay doubles per failure in a row, and a success forgets.

    Past ``limit`` entries the one that failed longest ago is forgotten, so ids made up by clients cost nothing.
    """

    def __init__(self, *, base_s: float = 1.0, max_s: float = 60.0, limit: int = 1024) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._limit = limit
        self._table: OrderedDict[K, Remembered] = OrderedDict()

    def remember(self, key: K, failure: Failure, now: float, *, where: int = 0) -> Failure:
        """Note a failure; return it with the seconds for which it will be answered from memory."""
        old = self._table.pop(key, None)
        count = old.count + 1 if old else 1
        delay = failure.retry_after_s
        if delay is None:
            delay = min(self._max_s, self._base_s * 2.0 ** min(count - 1, 16))
        kept = Failure(failure.code, failure.message, delay)
        mask = where | (old.where if old else 0)
        self._table[key] = Remembered(kept, now + delay, count, mask)
        if len(self._table) > self._limit:
            self._table.popitem(last=False)
        return kept

    def get(self, key: K, now: float) -> Failure | None:
        """Return the failure to answer with now, its ``retry_after_s`` what is left, or None if it is over."""
        kept = self._table.get(key)
        if kept is None or now >= kept.until:
            return None
        return Failure(kept.failure.code, kept.failure.message, kept.until - now)

    def where(self, key: K) -> int:
        """Return the mask of replicas at which ``key`` failed since its last success."""
        kept = self._table.get(key)
        return kept.where if kept else 0

    def forget(self, key: K) -> None:
        self._table.pop(key, None)

    def forget_replica(self, mask: int) -> None:
        """Take a replica that is gone out of every record's mask."""
        for kept in self._table.values():
            kept.where &= ~mask

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: object) -> bool:
        return key in self._table


MESSAGES: Final[dict[str, str]] = {
    "load_timeout": "model {model!r} was not loaded in time",
    "model_too_large": "model {model!r} is larger than the byte budget less what is pinned",
    "model_unloaded": "model {model!r} was unloaded by an operator",
    "slots_busy": "no room for model {model!r}: what is pinned, hangs or serves a long request leaves none",
    "slot_deadlock": "model {model!r} waits for a slot, and every slot is held by this request or others that wait too",
    "draining": "model {model!r} is not loaded any more: the replica is stopping",
}


def failure_of(code: str, key: Key, retry_after_s: float | None = None) -> Failure:
    """Return the failure of ``code`` in words."""
    return Failure(code, MESSAGES[code].format(model=key.model), retry_after_s)


def not_returned(key: Key) -> Failure:
    """Return why a model cannot be loaded whose last load or cleanup was given up and still runs."""
    return Failure("load_timeout", f"an earlier load or cleanup of model {key.model!r} has not returned yet")
