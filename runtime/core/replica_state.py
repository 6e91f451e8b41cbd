"""What a replica's brain knows, in one place: slots, wants, leases, claims, places, bytes, failures, timers."""

from __future__ import annotations

from collections import deque
from math import inf

from runtime.core.admission import Admission
from runtime.core.budget import Budget
from runtime.core.claims import Claims
from runtime.core.decisions import Decisions
from runtime.core.events import Failure, Key, ModelStatus, Publish, ReplicaLimits, ResidencyEffect
from runtime.core.eviction import POLICIES
from runtime.core.failures import FailureMemory
from runtime.core.leases import Leases
from runtime.core.newcomers import Newcomers
from runtime.core.slots import Cache, Entry, History
from runtime.core.wants import Wants

HISTORY_PER_SLOT = 16  # past models remembered, per slot
HISTORY_LEAST = 1024
EXPECTED = 32  # ends of loads elsewhere kept in mind
HALF_LIFE_PER_SLOT = 24  # uses of the replica, per slot, after which a model's frequency is halved


class ReplicaState:
    """The parts that residency, loader and summary share. It decides nothing."""

    def __init__(self, limits: ReplicaLimits) -> None:
        slots = sum(cap for cap in limits.slots if cap > 0)
        self.limits = limits
        self.policy = POLICIES[limits.eviction]
        self.history = History(max(HISTORY_LEAST, HISTORY_PER_SLOT * slots), HALF_LIFE_PER_SLOT * max(4, slots))
        self.caches = [Cache(number, cap) for number, cap in enumerate(limits.slots)]
        self.early = False  # a dispatched request needs its model resident: one cache, loaded at admission
        self.wants = [Wants() for _ in limits.slots]
        self.budget = Budget(limits.max_bytes, self.history, slots)
        self.leases = Leases(self.history)
        self.claims = Claims(limits.claim_grace_s)
        self.admission = Admission(limits.places, limits.claim_grace_s)
        self.failures: FailureMemory[Key] = FailureMemory()
        self.newcomers = Newcomers()
        self.pins: dict[Key, None] = {}
        self.waiters: dict[int, Key] = {}  # waiting calls of the loader → what they wait for
        self.decisions = Decisions()
        self.returns: deque[float] = deque(maxlen=EXPECTED)  # when loads elsewhere end, as routers said
        self.stopping = False
        self.pressed = False  # a want waits, a model drains or too much is held: whatever comes free matters
        self.dirty = True  # the summary may have changed since it was last sent
        self.moved = False  # and a model's state was published since: a summary from before does not go with it
        self.due = inf  # when something must be looked at again; never later than needed
        self.apply(limits)

    def apply(self, limits: ReplicaLimits) -> None:
        """Take changed limits; the number of caches is the code's and stays."""
        self.limits = limits
        self.policy = POLICIES[limits.eviction]
        self.early = limits.load_early and len(self.caches) == 1
        for cache, cap in zip(self.caches, limits.slots, strict=True):
            cache.cap = cap
            cache.coldest = None
        self.budget.limit = limits.max_bytes
        self.claims.grace_s = self.admission.held_s = limits.claim_grace_s
        self.admission.places = limits.places
        self.dirty = True

    def arm(self, when: float | None) -> None:
        """Ask to be woken at ``when`` at the latest."""
        if when is not None and when < self.due:
            self.due = when

    def entry(self, key: Key) -> Entry | None:
        return self.caches[key.cache].entries.get(key.model)

    @property
    def loading(self) -> int:
        return sum(cache.count["loading"] for cache in self.caches)

    def attainable(self, cache: Cache, *, hung: bool = False) -> float:
        """Return the bytes that a want of a cache can be given at the most, whoever yields; -1: not even a slot.

        The rest is pinned, stuck or abandoned. ``hung``: as if only what is abandoned were held.
        """
        held = [
            entry
            for each in self.caches
            if each.blocked
            for entry in each.entries.values()
            if entry.blocks and (entry.state == "abandoned" or not hung)
        ]
        if not held:
            return inf
        if 0 <= cache.cap <= sum(entry.key.cache == cache.number for entry in held):
            return -1
        return inf if self.budget.limit is None else self.budget.limit - sum(entry.size_bytes for entry in held)

    def jammed(self, cache: Cache) -> bool:
        """Return whether no want of a cache can be given room; where none waits, not even the smallest model."""
        left = self.attainable(cache)
        if left == inf:
            return False
        waiting = self.wants[cache.number].every()
        needs = [self.budget.expected(want) for want in waiting if want.key.model not in cache.entries]
        return min(needs, default=self.budget.least) > left

    def new(self, key: Key) -> bool:
        """Return whether only its load can tell that a model exists: there is no source, and none has succeeded."""
        return not self.limits.has_source and self.history.peek(key) is None

    def settle(self, entry: Entry, now: float) -> None:
        """Put ``entry`` into or out of the idle order after its leases, claims or pin changed."""
        self.caches[entry.key.cache].settle(entry, now)
        self.dirty = True
        if self.limits.idle_unload_s is not None:
            self.arm(now + self.limits.idle_unload_s)

    def failure(self, key: Key, now: float) -> Failure | None:
        """Return why a model is not to be tried again yet; None while it is: an operator's try is joined by all."""
        return None if self.wants[key.cache].get(key.model) is not None else self.failures.get(key, now)

    def publish(self, status: ModelStatus, out: list[ResidencyEffect]) -> None:
        self.dirty = self.moved = True
        out.append(Publish(status, case=270))
