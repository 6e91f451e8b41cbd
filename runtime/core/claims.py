"""Claims: a granted want keeps its model from idle eviction until the router has sent its waiting requests."""

from __future__ import annotations

from collections import OrderedDict

from runtime.core.events import LinkId
from runtime.core.slots import Entry


def refused(link: LinkId) -> LinkId:
    """Return who claims a model for the requests of ``link`` that found every place taken."""
    return ~link


class Claims:
    """Claims by link, each for ``grace_s`` at most; a claim does not protect from a yield."""

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._until: OrderedDict[tuple[LinkId, Entry], float] = OrderedDict()  # the first to lapse first

    def grant(self, link: LinkId, entry: Entry, now: float) -> None:
        entry.claims[link] = None
        self._until.pop((link, entry), None)
        self._until[link, entry] = now + self.grace_s

    def drop(self, link: LinkId, entry: Entry) -> bool:
        """Drop one claim; return whether there was one. The caller settles the entry."""
        if self._until.pop((link, entry), None) is None:
            return False
        del entry.claims[link]
        return True

    def drop_entry(self, entry: Entry) -> None:
        """Drop every claim on an entry that is about to go."""
        for link in list(entry.claims):
            self.drop(link, entry)

    def drop_link(self, link: LinkId) -> list[Entry]:
        """Drop every claim of a link; return the entries that lost one."""
        entries = [entry for owner, entry in self._until if owner == link]
        for entry in entries:
            self.drop(link, entry)
        return entries

    def lapse(self, now: float) -> list[Entry]:
        """Drop the claims whose grace has passed; return the entries that lost one."""
        lapsed: list[Entry] = []
        while self._until:
            (link, entry), until = next(iter(self._until.items()))
            if until > now:
                break
            self.drop(link, entry)
            lapsed.append(entry)
        return lapsed

    def due(self) -> float | None:
        return next(iter(self._until.values())) if self._until else None

    def __len__(self) -> int:
        return len(self._until)
