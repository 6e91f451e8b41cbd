"""The slots of a replica: which models are loading, resident, draining, unloading or abandoned in which cache."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Final

from runtime.core.events import Key, ModelState

UNLIMITED: Final = 1 << 20  # the free slots of a cache without a cap

WINDOW_S = 0.5  # over which a replica's uses per second are measured,
LEAST_S = 0.05  # and the least time over which its first ones are


class Entry:
    """One model that holds a slot."""

    __slots__ = (
        "blocks", "claims", "doomed", "idle_since", "key", "leases", "load_s", "loaded_at", "past", "pinned",
        "since", "size_bytes", "state", "stuck",
    )  # fmt: skip

    def __init__(self, key: Key, past: Past, now: float) -> None:
        self.key = key
        self.past = past  # its memory across loads; shared with History while remembered there
        self.state: ModelState = "loading"
        self.since = now  # when the state was entered
        self.leases = 0  # requests that use it now
        self.stuck = 0  # of these, how many are older than drain_limit_s
        self.claims: dict[int, float] = {}  # links whose requests it is kept for; until when it does not yield
        self.pinned = False
        self.blocks = False  # no want can get its slot, and its cache has counted it
        self.doomed = False  # an operator unloaded it while it was loading
        self.size_bytes = 0  # reserved while loading, then as reported
        self.load_s = 0.0
        self.loaded_at = now
        self.idle_since = now

    @property
    def evictable(self) -> bool:
        return self.state == "resident" and not (self.leases or self.claims or self.pinned)

    @property
    def blocking(self) -> bool:
        """Whether no want can get its slot."""
        if self.pinned or self.stuck:
            return self.state in ("resident", "draining", "abandoned")
        return self.state == "abandoned"

    def __repr__(self) -> str:
        marks = f"{self.leases}L" * bool(self.leases) + "C" * bool(self.claims) + "P" * self.pinned
        return f"{self.key.model}:{self.state}{':' if marks else ''}{marks}"


class Past:
    """What is remembered of a model while it is resident and, in a bounded table, after it has gone."""

    __slots__ = ("frequency", "load_s", "size_bytes", "tick", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self.frequency = 0.0  # as of ``tick``
        self.tick = 0
        self.load_s = 0.0
        self.size_bytes = 0


class History:
    """Past models, the least recently seen forgotten first. Counts uses of the whole replica as its clock."""

    def __init__(self, limit: int, half_life: float) -> None:
        self._table: OrderedDict[Key, Past] = OrderedDict()
        self._limit = limit
        self._decay = 0.5 ** (1.0 / half_life)
        self.tick = 0
        self._rate = 0.0  # uses per second in the window before
        self._since: float | None = None  # when this window began, with the first use,
        self._from = 0  # and at which tick
        self.mean_load_s = 0.0
        self.mean_size_bytes = 0.0
        self.least_size_bytes = 0

    def recall(self, key: Key) -> Past:
        """Return the record of ``key``, or a new one, which is kept once the model has loaded."""
        return self._table.get(key) or Past()

    def peek(self, key: Key) -> Past | None:
        return self._table.get(key)

    def used(self, past: Past, now: float) -> None:
        """Count one use."""
        if self._since is None:
            self._since = now
        self.tick += 1
        past.frequency = 1.0 + past.frequency * self._decay ** (self.tick - past.tick)
        past.tick = self.tick
        past.uses += 1

    def frequency(self, past: Past) -> float:
        """Return the aged frequency as of now."""
        return past.frequency * float(self._decay ** (self.tick - past.tick))

    def gap_s(self, past: Past, now: float) -> float:
        """Return the usual time between two uses: the replica's own over the model's share of its uses; inf unknown."""
        if self._since is None or past.uses < 2:
            return inf
        elapsed = now - self._since
        rate = self._rate or (self.tick - self._from) / max(elapsed, LEAST_S)
        if elapsed >= WINDOW_S:
            self._rate = rate = (self.tick - self._from) / elapsed
            self._since, self._from = now, self.tick
        uses = self.frequency(past) * (1.0 - self._decay) * rate
        return (1.0 - self._decay**self.tick) / uses if uses > 0.0 else inf

    def keep(self, key: Key, past: Past) -> None:
        """Remember a model that has loaded, or that goes, as the most recently seen."""
        self._table[key] = past
        self._table.move_to_end(key)
        if len(self._table) > self._limit:
            self._table.popitem(last=False)

    def loaded(self, past: Past, load_s: float, size_bytes: int) -> None:
        """Note a finished load; the means move an eighth of the way."""
        self.least_size_bytes = min(size_bytes, self.least_size_bytes or size_bytes)
        past.load_s = load_s
        past.size_bytes = size_bytes
        self.mean_load_s += (load_s - self.mean_load_s) * (0.125 if self.mean_load_s else 1.0)
        self.mean_size_bytes += (size_bytes - self.mean_size_bytes) * (0.125 if self.mean_size_bytes else 1.0)

    def __len__(self) -> int:
        return len(self._table)


class Cache:
    """One multiplexed loader's models. Every entry holds one of ``cap`` slots (-1: without limit)."""

    def __init__(self, number: int, cap: int) -> None:
        self.number = number
        self.cap = cap
        self.entries: dict[str, Entry] = {}
        self.idle: OrderedDict[str, Entry] = OrderedDict()  # evictable ones, the longest idle first
        self.coldest: Entry | None = None  # of least worth of those idle, ``idled`` apart; None: to be found anew
        self.idled: dict[Entry, None] = {}  # idle since ``coldest`` was found, the longest idle first
        self.blocked = 0  # slots that no want can get: pinned, stuck or abandoned ones
        self.count: dict[str, int] = {
            "loading": 0, "resident": 0, "draining": 0, "unloading": 0, "abandoned": 0,
        }  # fmt: skip

    def add(self, entry: Entry) -> None:
        self.entries[entry.key.model] = entry
        self.count[entry.state] += 1

    def move(self, entry: Entry, state: ModelState, now: float) -> None:
        self.count[entry.state] -= 1
        self.count[state] += 1
        entry.state = state
        entry.since = now
        self.settle(entry, now)

    def settle(self, entry: Entry, now: float) -> None:
        """Put ``entry`` into or out of the idle order and the count of blocked slots, as it is now."""
        model = entry.key.model
        if entry.evictable:
            if model not in self.idle:
                entry.idle_since = now
                self.idle[model] = entry
                self.idled[entry] = None
        elif model in self.idle:
            self.rouse(entry)
        self.judge(entry)

    def rouse(self, entry: Entry) -> None:
        """Take an entry that is idle out of the idle order."""
        del self.idle[entry.key.model]
        self.idled.pop(entry, None)
        if self.coldest is entry:
            self.coldest = None

    def judge(self, entry: Entry) -> None:
        """Count an entry among the blocked ones, or not any more, after its state, pin or stuck leases changed."""
        blocks = entry.blocking
        if blocks != entry.blocks:
            entry.blocks = blocks
            self.blocked += 1 if blocks else -1

    def remove(self, entry: Entry) -> None:
        self.count[entry.state] -= 1
        self.blocked -= entry.blocks
        del self.entries[entry.key.model]

    @property
    def free(self) -> int:
        return UNLIMITED if self.cap < 0 else self.cap - len(self.entries)

    def __repr__(self) -> str:
        return f"<Cache {self.number} {len(self.entries)}/{self.cap} {list(self.entries.values())}>"
