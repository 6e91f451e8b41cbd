"""Requests that hold a model and wait for another one's slot: which of them can never be served.

A request makes progress if it waits for nothing, or for a cache in which some slot will come free: one that is
free, loading or unloading, or an unpinned one whose leases all belong to requests that make progress. What is left
when nothing more can be added (the least fixed point) waits for itself.
"""

from __future__ import annotations

from runtime.core.events import Request
from runtime.core.leases import Running
from runtime.core.slots import Cache, Entry


def deadlocked(caches: list[Cache], running: dict[Request, Running]) -> list[Request]:
    """Return the requests that hold a lease and wait for ever, the youngest last."""
    waiting = {request: one for request, one in running.items() if one.waits}
    holders: dict[Entry, list[Running]] = {}
    for one in waiting.values():
        for lease in one.leases():
            holders.setdefault(lease.entry, []).append(one)
    open_caches: set[int] = set()

    def progresses(one: Running) -> bool:
        return all(key.cache in open_caches for key in one.waits.values())

    def comes_free(entry: Entry) -> bool:
        if entry.state in ("loading", "unloading"):
            return True
        if entry.pinned or entry.state == "abandoned":
            return False
        return all(progresses(one) for one in holders.get(entry, ()))

    def opens(cache: Cache) -> bool:
        return cache.free > 0 or any(comes_free(entry) for entry in cache.entries.values())

    grown = True
    while grown:
        found = {cache.number for cache in caches if cache.number not in open_caches and opens(cache)}
        open_caches |= found
        grown = bool(found)
    stuck = [(one.admitted, request) for request, one in waiting.items() if not progresses(one)]
    held = [request for _, request in sorted(stuck, key=lambda pair: pair[0]) if _holds(running[request])]
    return held


def _holds(one: Running) -> bool:
    return next(one.leases(), None) is not None
