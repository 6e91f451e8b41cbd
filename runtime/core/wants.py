"""The wants of a replica: models that somebody waits for and that hold no slot yet, or are loading."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from runtime.core.events import Key, LinkId, Request, WantKind


@dataclass(slots=True)
class Waiter:
    """A call of the loader by user code that awaits its model; ``request`` None: outside any request."""

    id: int
    request: Request | None
    since: float


Rank = tuple[int, float, int]  # copies last, then the oldest, then the first to come


class Want:
    """One wanted model and everybody who wants it."""

    __slots__ = (
        "fetch_size",
        "fetched",
        "key",
        "links",
        "loading",
        "new",
        "number",
        "preload",
        "rank",
        "spare",
        "waiters",
    )

    def __init__(self, key: Key, number: int, new: bool) -> None:
        self.key = key
        self.number = number  # breaks ties by order of arrival
        self.new = new  # only the load can tell whether such a model exists
        self.links: dict[LinkId, tuple[WantKind, float]] = {}  # kind, and since when
        self.waiters: dict[int, Waiter] = {}
        self.preload: float | None = None  # since when the config or an operator wants it
        self.spare: str | None = None  # a victim that has another copy, for a copy
        self.fetched = False  # its file is at hand, or needs no fetch
        self.fetch_size = 0
        self.loading = False
        self.rank: Rank = (0, 0.0, number)

    @property
    def since(self) -> float:
        return self.rank[1]

    @property
    def cold(self) -> bool:
        return self.rank[0] == 0

    @property
    def empty(self) -> bool:
        return not (self.links or self.waiters) and self.preload is None

    def ranked(self) -> Rank:
        """Compute the place in the order of wants from those who want it now."""
        cold = [since for kind, since in self.links.values() if kind != "copy"]
        cold += [waiter.since for waiter in self.waiters.values()]
        if self.preload is not None:
            cold.append(self.preload)
        if cold:
            return (0, min(cold), self.number)
        return (1, min((since for _, since in self.links.values()), default=0.0), self.number)


class Wants:
    """The wants of one cache; ``_orders`` hold those without a slot, the next to be served first.

    Those of new models stand in a line of their own, so that many of them hide nobody else's.
    """

    def __init__(self) -> None:
        self.by_model: dict[str, Want] = {}
        self._orders: tuple[list[tuple[Rank, Want]], list[tuple[Rank, Want]]] = ([], [])
        self._count = 0

    def get(self, model: str) -> Want | None:
        return self.by_model.get(model)

    def open(self, key: Key, *, new: bool = False) -> Want:
        """Return the want of ``key``, made if there is none; ``new``: of a model never loaded here."""
        want = self.by_model.get(key.model)
        if want is None:
            self._count += 1
            want = self.by_model[key.model] = Want(key, self._count, new)
            insort(self._orders[new], (want.rank, want))
        return want

    def changed(self, want: Want) -> None:
        """Put ``want`` where those who want it now put it, or drop it if nobody does and it has no slot."""
        if not want.loading:
            self._unlist(want)
        if want.empty and not want.loading:
            del self.by_model[want.key.model]
            return
        want.rank = want.ranked()
        if not want.loading:
            insort(self._orders[want.new], (want.rank, want))

    def start(self, want: Want) -> None:
        """Take ``want`` out of the order: it has got its slot."""
        self._unlist(want)
        want.loading = True

    def close(self, want: Want) -> None:
        """Forget ``want``: it was answered."""
        if not want.loading:
            self._unlist(want)
        del self.by_model[want.key.model]

    def _unlist(self, want: Want) -> None:
        order = self._orders[want.new]
        del order[bisect_left(order, (want.rank,))]  # ranks are unique by number

    def queued(self, limit: int) -> list[Want]:
        """Return the first ``limit`` wants without a slot of either line, the next to be served first."""
        known, new = self._orders
        first = sorted(known[:limit] + new[:limit]) if known and new else (known or new)[:limit]
        return [want for _, want in first]

    def every(self) -> list[Want]:
        """Return all wants without a slot, in their order."""
        return self.queued(self.waiting)

    @property
    def waiting(self) -> int:
        return len(self._orders[0]) + len(self._orders[1])

    @property
    def new(self) -> int:
        return len(self._orders[1])

    def __repr__(self) -> str:
        return f"<Wants {[want.key.model for order in self._orders for _, want in order]}>"
