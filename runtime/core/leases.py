"""Who uses which resident model: leases by running request, and which of them have become stuck."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from runtime.core.events import Key, Request
from runtime.core.slots import Cache, Entry, History


class Lease:
    """One request's hold on one model, from admission (or ``get_model``) to the end of its response."""

    __slots__ = ("claimed", "entry", "started", "stuck")

    def __init__(self, entry: Entry, now: float, claimed: bool) -> None:
        self.entry = entry
        self.started = now
        self.claimed = claimed  # user code asked for the model; an admission lease starts unclaimed
        self.stuck = False


_NO_WAITS: Final[dict[int, Key]] = {}  # of nearly all requests; never written to


class Running:
    """One admitted request. Most hold one lease, so the first is kept beside the rare others."""

    __slots__ = ("admitted", "lease", "others", "waits")

    def __init__(self, now: float, lease: Lease | None) -> None:
        self.admitted = now
        self.lease = lease
        self.others: tuple[Lease, ...] = ()  # of user code that asked for more than its request's model
        self.waits = _NO_WAITS  # waiter → what its user code waits for

    def leases(self) -> Iterator[Lease]:
        if self.lease is not None:
            yield self.lease
        yield from self.others

    def wait(self, waiter: int, key: Key) -> None:
        """Note that user code of this request waits for a model."""
        self.waits = {**self.waits, waiter: key}

    def find(self, entry: Entry) -> Lease | None:
        return next((lease for lease in self.leases() if lease.entry is entry), None)


class Leases:
    """All running requests and their leases; a lease older than ``drain_limit_s`` is marked stuck once."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.running: dict[Request, Running] = {}
        self.young: OrderedDict[Lease, None] = OrderedDict()  # not stuck, the oldest first

    def take(self, cache: Cache, entry: Entry, now: float, *, claimed: bool) -> Lease:
        """Lease ``entry``: it is in use and, by its start, used once more."""
        lease = Lease(entry, now, claimed)
        self.young[lease] = None
        self._history.used(entry.past, now)
        entry.leases += 1
        if entry.leases == 1 and entry.key.model in cache.idle:
            cache.rouse(entry)
        return lease

    def drop(self, lease: Lease) -> Entry:
        """End one lease; the caller settles the entry, which may now be idle or may now be unloaded."""
        entry = lease.entry
        if lease.stuck:
            entry.stuck -= 1
        else:
            del self.young[lease]
        entry.leases -= 1
        return entry

    def mark_stuck(self, now: float, limit_s: float) -> list[Entry]:
        """Mark the leases that are ``limit_s`` old; return what they lease."""
        found: list[Entry] = []
        while self.young:
            lease = next(iter(self.young))
            if lease.started + limit_s > now:
                break
            del self.young[lease]
            lease.stuck = True
            lease.entry.stuck += 1
            found.append(lease.entry)
        return found

    def oldest(self) -> float | None:
        """Return when the oldest lease that is not stuck began."""
        return next(iter(self.young)).started if self.young else None
