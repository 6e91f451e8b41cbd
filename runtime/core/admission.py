"""The places of a replica and which router gets the next one.

``max_ongoing_requests`` is enforced here, across routers. A router that was refused for want of a place is owed
one: the next free place is offered to the owed routers in turn, and held for the one it was offered to. The debt is
paid by the offer, so both ends agree on it without a word: it is set by a refusal and cleared by an offer, and both
travel on the same ordered link.
"""

from __future__ import annotations

from collections import OrderedDict

from runtime.core.events import LinkId, OfferPlace, ResidencyEffect


class Admission:
    """Counts places taken and promised; ``held_s`` bounds how long an unanswered offer holds a place."""

    def __init__(self, places: int, held_s: float) -> None:
        self.places = places
        self.held_s = held_s
        self.in_flight = 0
        self._owed: OrderedDict[LinkId, None] = OrderedDict()  # refused, not yet offered, in turn
        self._offers: OrderedDict[LinkId, float] = OrderedDict()  # unanswered: one a link, until when it holds

    @property
    def promised(self) -> int:
        """Places held for routers that have not answered an offer."""
        return len(self._offers)

    @property
    def owing(self) -> bool:
        return bool(self._owed)

    @property
    def busy(self) -> bool:
        return bool(self._owed or self._offers)

    def take(self, link: LinkId) -> bool:
        """Take a place for a request of ``link``, its own promised one first; False makes it owed."""
        if self._offers and self._offers.pop(link, None) is not None:
            self.in_flight += 1
            return True
        if self.in_flight + len(self._offers) >= self.places:
            self._owed[link] = None
            return False
        self.in_flight += 1
        return True

    def release(self) -> None:
        """Give back the place of a request that has ended."""
        self.in_flight -= 1

    def passed(self, link: LinkId) -> None:
        """Take back a promise; a second answer to one offer changes nothing."""
        self._offers.pop(link, None)

    def offer(self, now: float, out: list[ResidencyEffect]) -> None:
        """Offer every free place to the owed links in turn."""
        while self._owed and self.in_flight + len(self._offers) < self.places:
            link, _ = self._owed.popitem(last=False)
            self._offers[link] = now + self.held_s
            out.append(OfferPlace(link, case=220))

    def lapse(self, now: float) -> None:
        """Take back offers that nobody answered in time."""
        for link in [link for link, until in self._offers.items() if until <= now]:
            del self._offers[link]

    def down(self, link: LinkId) -> None:
        """Forget a link: what it is owed and what it was promised."""
        self._owed.pop(link, None)
        self._offers.pop(link, None)

    def due(self) -> float | None:
        """Return when the first unanswered offer lapses."""
        return next(iter(self._offers.values())) if self._offers else None

    def __repr__(self) -> str:
        return f"<Admission {self.in_flight}+{self.promised}/{self.places} owed={list(self._owed)}>"
