"""Claims: a granted want keeps its model from idle eviction until the router has sent its waiting requests."""

from __future__ import annotations

from collections import OrderedDict

from runtime.core.events import LinkId
from runtime.core.slots import Entry


def refused(link: LinkId) -> LinkId:
    """Return who claims a model for the requests of ``link`` that found every place taken."""
    return ~link


class Claims:
    """Claims by link, each for ``grace_s`` at most.

    A claim protects from a yield only until the first requests that its router sends have come, so that no load is
    for nothing, however long a message takes. Those that come and are refused protect no longer than they would have:
    a router that always has more of them must not keep a model for ever.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._until: OrderedDict[tuple[LinkId, Entry], float] = OrderedDict()  # the first to lapse first

    def grant(self, link: LinkId, entry: Entry, now: float) -> None:
        self._keep(link, entry, now + self.grace_s, now + self.grace_s)

    def refuse(self, link: LinkId, entry: Entry, now: float) -> None:
        """Keep an entry for a request of ``link`` that found every place taken, until that comes again."""
        self._keep(refused(link), entry, entry.claims.get(link, now), now + self.grace_s)

    def _keep(self, link: LinkId, entry: Entry, unyielding: float, until: float) -> None:
        entry.claims.setdefault(link, unyielding)
        self._until.pop((link, entry), None)
        self._until[link, entry] = until

    @staticmethod
    def served(link: LinkId, entry: Entry, until: float) -> float | None:
        """Note a request that ``link`` sent: its claim keeps the entry from yielding until ``until`` at most.

        Return ``until`` if that is sooner than before.
        """
        if until >= entry.claims.get(link, until):
            return None
        entry.claims[link] = until
        return until

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
