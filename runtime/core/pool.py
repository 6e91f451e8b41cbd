"""The replicas as a router sees them: integer bitsets, one bit per replica, updated with every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.buckets import Buckets
from runtime.core.events import ReplicaUp, Summary
from runtime.core.replica_view import ReplicaView
from runtime.core.ring import Ring
from runtime.core.slots import UNLIMITED

if TYPE_CHECKING:
    from runtime.core.models import Model

QUARTERS = 4  # free slots are compared in quarters, so that routers that hear of one load later still agree
LEVELS = 8  # load is compared in eighths of the places


class Pool:
    """All replicas with a link. ``shared``: other routers use them too."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self.by_id: dict[str, ReplicaView] = {}
        self.views: list[ReplicaView | None] = []  # by bit number
        self.ring = Ring()
        self.first: list[ReplicaView] = []  # of those that are up, the first by bit number, as far as noted
        self.up = 0  # connected and not draining
        self.suspect = 0  # silent, and so out of every choice until they answer or die
        self.room = 0  # up, with a free place for this router
        self.loose = 0  # up, serving any model without having it resident
        self.slack = 0  # with free slots beyond their own wants, as published
        self.able = 0  # where one more want could start now: with slots free or coming free, and a permit
        self.vacant = 0  # with a free place, as published
        self.blocked = 0
        self.low = 0  # below half load
        self.pressed = 0  # at least those where a want of this router cannot start, as published
        self.levels = [0] * (LEVELS + 1)
        self.cold = Buckets()
        self.crowd = Buckets()
        self.spare = Buckets()  # by free slots beyond their wants, in quarters of their slots

    def add(self, event: ReplicaUp, *, loose: bool) -> ReplicaView:
        """Give a new replica its bit: its index if that is free, so that every router orders alike."""
        number = event.index
        if number >= len(self.views):
            self.views += [None] * (number + 1 - len(self.views))
        if self.views[number] is not None:
            number = len(self.views)
            self.views.append(None)
        view = ReplicaView(event, number)
        self.views[number] = self.by_id[view.id] = view
        self.ring.add(view.index)
        self.first = []
        self.up |= view.bit
        self.room |= view.bit
        self.low |= view.bit
        self.levels[0] |= view.bit
        self._relevel(view)
        if loose:
            self.loose |= view.bit
        self.cold.move(view.bit, 0, 0)
        self.crowd.move(view.bit, 0, 0)
        self.spare.move(view.bit, 0, 0)
        self.summarise(view, event.summary)
        return view

    def drain(self, view: ReplicaView) -> None:
        """Send nothing new to a replica."""
        view.draining = True
        view.loose = bool(self.loose & view.bit)
        self.first = []
        keep = ~view.bit
        self.up &= keep
        self.room &= keep
        self.loose &= keep

    def restore(self, view: ReplicaView) -> None:
        """Choose a replica again that was suspect."""
        view.draining = False
        self.first = []
        self.suspect &= ~view.bit
        self.up |= view.bit
        if view.loose:
            self.loose |= view.bit
        if view.in_flight < view.places and not view.owed:
            self.room |= view.bit

    @property
    def deserted(self) -> bool:
        """Whether there is no replica, and none that may answer again."""
        return not (self.up or self.suspect)

    def remove(self, view: ReplicaView) -> None:
        """Forget a replica whose link is gone."""
        if not view.draining:
            self.drain(view)
        keep = ~view.bit
        self.suspect &= keep
        self.slack &= keep
        self.able &= keep
        self.vacant &= keep
        self.blocked &= keep
        self.low &= keep
        self.pressed &= keep
        self.levels[view.level] &= keep
        self.cold.leave(view.bit, view.cold)
        self.crowd.leave(view.bit, view.crowd)
        self.spare.leave(view.bit, view.spare)
        self.ring.remove(view.index)
        del self.by_id[view.id]
        self.views[view.number] = None
        while self.views and self.views[-1] is None:
            self.views.pop()

    def summarise(self, view: ReplicaView, summary: Summary) -> None:
        """Take a published summary."""
        bit = view.bit
        view.summary = summary
        blocked = summary.stuck >= (view.slots if view.slots >= 0 else UNLIMITED)
        if blocked != view.blocked:
            view.blocked = blocked
            self.blocked ^= bit
        vacant = summary.in_flight < view.places
        if vacant != view.vacant:
            view.vacant = vacant
            self.vacant ^= bit
        if summary.coldness != view.cold:
            self.cold.move(bit, view.cold, summary.coldness)
            view.cold = summary.coldness
        self.loads(view)
        self._rank(view)
        if self._shared:
            view.others = max(0, summary.in_flight - view.in_flight)
            self._relevel(view)

    def loads(self, view: ReplicaView) -> None:
        """Note how many more wants a replica could start now; to call when what is loading there has changed."""
        summary = view.summary
        slots = summary.free_slots + summary.evictable
        permits = view.max_loads - len(view.loading)
        view.ready_for = (slots if slots < permits else permits) - summary.wants
        able = view.ready_for > 0
        if able != view.able:
            view.able = able
            self.able ^= view.bit
        self.press(view)

    def bid(self, view: ReplicaView, change: int) -> None:
        """Count this router's wants at a replica; alone, it need not wait to hear of them to rank by them."""
        view.bids += change
        self.press(view)
        if not self._shared:
            self._rank(view)

    def press(self, view: ReplicaView) -> None:
        """Note whether a want of this router may be waiting at a replica."""
        pressed = view.bids + len(view.loading) > view.ready_for
        if pressed != view.pressed:
            view.pressed = pressed
            self.pressed ^= view.bit

    def _rank(self, view: ReplicaView) -> None:
        """Put a replica where its free slots and wants put it."""
        wants = view.summary.wants
        if not self._shared:
            own = view.bids - len(view.loading)
            wants = own if own > wants else wants
        bit = view.bit
        free = view.summary.free_slots - wants
        free = free if free > 0 else 0
        if (free > 0) != view.slack:
            view.slack = free > 0
            self.slack ^= bit
        spare = -(-QUARTERS * free // view.slots) if view.slots > 0 else min(free, 1)
        if spare != view.spare:
            self.spare.move(bit, view.spare, spare)
            view.spare = spare
        crowd = wants // view.max_loads
        if crowd != view.crowd:
            self.crowd.move(bit, view.crowd, crowd)
            view.crowd = crowd

    def take(self, view: ReplicaView) -> None:
        """Count one more request of this router in flight."""
        in_flight = view.in_flight = view.in_flight + 1
        if in_flight >= view.places:
            self.room &= ~view.bit
        if in_flight >= view.level_to:
            self._relevel(view)

    def give(self, view: ReplicaView) -> None:
        """Count one request less in flight; its place is free for this router unless the replica owes one."""
        in_flight = view.in_flight = view.in_flight - 1
        if in_flight + 1 >= view.places and not (view.owed or view.draining):
            self.room |= view.bit
        if in_flight < view.level_from:
            self._relevel(view)

    def refuse(self, view: ReplicaView) -> None:
        """Note that the replica had no place: it owes one, and nothing is sent before it offers."""
        view.owed = True
        self.room &= ~view.bit

    def offered(self, view: ReplicaView) -> None:
        """Note that the replica paid its debt with a place."""
        view.owed = False
        if not view.draining and view.in_flight < view.places:
            self.room |= view.bit

    def _relevel(self, view: ReplicaView) -> None:
        """Put a replica at the level of its load, and note at which load that changes again."""
        places = view.places
        level = min(LEVELS, (view.in_flight + view.others) * LEVELS // places)
        view.level_from = -(-level * places // LEVELS) - view.others
        view.level_to = -(-(level + 1) * places // LEVELS) - view.others if level < LEVELS else 1 << 62
        if level == view.level:
            return
        bit = view.bit
        self.levels[view.level] &= ~bit
        self.levels[level] |= bit
        if (level < LEVELS // 2) != (view.level < LEVELS // 2):
            self.low ^= bit
        view.level = level

    def view_of(self, mask: int) -> ReplicaView:
        """Return the replica of a mask with exactly one bit."""
        view = self.views[mask.bit_length() - 1]
        assert view is not None, f"no replica has bit {mask:b}"
        return view

    def note_first(self, count: int) -> list[ReplicaView]:
        """Note and return the first ``count`` replicas that are up; noted until one comes or goes."""
        rest = self.up
        while rest and len(self.first) < count:
            bit = rest & -rest
            self.first.append(self.view_of(bit))
            rest ^= bit
        return self.first

    def note_waiting(self, model: Model) -> None:
        """Note a model with a queue at whoever holds it; it stays noted there until that looks and finds none."""
        missing = model.holders & ~model.noted
        if missing:
            model.noted |= missing
            for view in self.each(missing):
                view.awaited[model] = None

    def each(self, mask: int) -> list[ReplicaView]:
        """Return the replicas of a mask."""
        found: list[ReplicaView] = []
        while mask:
            bit = mask & -mask
            found.append(self.view_of(bit))
            mask ^= bit
        return found
