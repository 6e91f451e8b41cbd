"""One replica as a router sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.events import ReplicaUp

if TYPE_CHECKING:
    from runtime.core.models import Model


class ReplicaView:
    """One replica as published, and what this router has in flight there."""

    __slots__ = (
        "able", "awaited", "bids", "bit", "blocked", "cold", "crowd", "draining", "fetching", "id", "in_flight",
        "index", "last", "level", "level_from", "level_to", "loading", "loose", "max_batch", "max_loads", "models",
        "number", "others", "owed", "places", "pressed", "ready_for", "run", "slack", "slots", "spare", "summary",
        "vacant",
    )  # fmt: skip

    def __init__(self, event: ReplicaUp, number: int) -> None:
        self.id = event.replica
        self.index = event.index
        self.number = number
        self.bit = 1 << number
        self.places = max(1, event.places)
        self.slots = event.slots
        self.max_batch = max(1, event.max_batch)
        self.max_loads = max(
            1, min(event.max_concurrent_loads, event.slots) if event.slots > 0 else event.max_concurrent_loads
        )
        self.summary = event.summary
        self.ready_for = 0  # how many more wants could start now, as published
        self.in_flight = 0  # requests of this router
        self.others = 0  # requests of other routers, as last published
        self.level = 0  # eighths of the places in use
        self.level_from = 0  # the least requests of this router at this level,
        self.level_to = 0  # and of the next one
        self.owed = False  # it refused for want of a place and will offer one
        self.draining = False  # nothing new goes there: it drains, or is suspect
        self.loose = False  # once it drains: what ``Pool.loose`` said of it before
        self.models: dict[str, Model] = {}  # resident there
        self.awaited: dict[Model, None] = {}  # of these, at least all that have a queue
        self.fetching: dict[str, Model] = {}  # its file is on the way there
        self.loading: dict[str, Model] = {}  # loading there
        self.last: Model | None = None  # the model served last from a queue
        self.run = 0  # requests of it served in a row
        self.bids = 0  # wants of this router that it has not answered
        self.cold = 0  # buckets in which the pool has it
        self.crowd = 0
        self.spare = 0
        self.blocked = False  # every slot is pinned or held by a long request
        self.able = False  # whether it is in the pool's mask of that name; so the next two
        self.vacant = False
        self.slack = False
        self.pressed = False  # a want of this router may be one that cannot start, as published

    def startable(self, own: int, *, evicting: bool) -> int:
        """Return how many of ``own`` unstarted wants of this router could start now, as published.

        ``evicting``: or soon, in the place of an idle model.
        """
        others = max(0, self.summary.wants - own)
        slots = self.summary.free_slots + (self.summary.evictable if evicting else 0)
        return min(slots, self.max_loads - len(self.loading)) - others

    def __repr__(self) -> str:
        return f"<ReplicaView {self.id} {self.in_flight}/{self.places} {'owed ' * self.owed}{list(self.models)}>"
