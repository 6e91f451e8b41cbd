"""What a router knows of each model: where it is, who waits for it, where it is wanted.

A record lives while some replica holds or loads the model or some request waits for it; nothing remains of an id
that a client made up. A record without demand costs about 220 bytes, its places in the tables of models included, and a
mask of one bit per replica more if several replicas hold it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from runtime.core.pool import Pool
from runtime.core.replica_view import ReplicaView
from runtime.core.ring import point_of


class Waiting:
    """One request that the scheduler has not seen the end of."""

    __slots__ = ("arrived_at", "began", "cancelled", "id", "model", "number", "replayable", "tried", "view")

    def __init__(self, id: int, model: str | None, number: int, arrived_at: float, replayable: bool) -> None:
        self.id = id
        self.model = model
        self.number = number  # of arrival: a refused request goes back to its place
        self.arrived_at = arrived_at
        self.replayable = replayable
        self.view: ReplicaView | None = None  # where it was dispatched; None: it waits in a queue
        self.began = False
        self.tried = False  # one replica died with it already
        self.cancelled = False


class Queue:
    """Waiting requests in the order of their arrival."""

    __slots__ = ("_requests", "first")

    def __init__(self) -> None:
        self._requests: OrderedDict[int, Waiting] = OrderedDict()
        self.first = 0  # the head's number of arrival; 0: nobody waits

    def add(self, request: Waiting) -> None:
        """Put a request where its arrival number belongs: at the end if new, near the front if refused."""
        requests = self._requests
        number = request.number
        last = next(reversed(requests)) if requests else 0
        requests[number] = request
        if number > last:
            self.first = self.first or number
        elif number < self.first:
            requests.move_to_end(number, last=False)
            self.first = number
        else:
            for other in sorted(requests):
                requests.move_to_end(other)

    @property
    def head(self) -> Waiting:
        return self._requests[self.first]

    def pop(self) -> Waiting:
        request = self._requests.popitem(last=False)[1]
        self.first = next(iter(self._requests), 0)
        return request

    def remove(self, request: Waiting) -> None:
        del self._requests[request.number]
        if request.number == self.first:
            self.first = next(iter(self._requests), 0)

    def __contains__(self, request: Waiting) -> bool:
        return request.number in self._requests

    def all(self) -> list[Waiting]:
        return list(self._requests.values())

    def __len__(self) -> int:
        return len(self._requests)


@dataclass(slots=True)
class Bid:
    """A want that this router has at a replica and has not seen the end of."""

    view: ReplicaView
    placed_at: float
    withdrawing: bool = False


class Demand:
    """Who waits for a model and what was done about it."""

    __slots__ = (
        "busy_since", "check_at", "claims", "cold", "copy", "copy_after", "departed", "moves", "patience_s", "queue",
        "rate", "rate_since", "stranded",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.queue = Queue()
        self.cold: Bid | None = None  # the want that shall make the model resident
        self.copy: Bid | None = None  # the want for one more copy
        self.stranded: tuple[Bid, ...] = ()  # wants taken back from suspects, which have not answered to that
        self.claims = 0  # replicas that keep the model for this router until released
        self.busy_since = now  # since when the queue has not been empty although somebody serves it
        self.departed = 0  # requests that left the queue since ``rate_since``
        self.rate_since = now
        self.rate = 0.0  # departures per second in the window before
        self.moves = 0  # how often the cold want was taken back to move since the model was last resident
        self.patience_s = 0.0  # how long a want stays at one replica before a better one is looked for
        self.copy_after = 0.0  # when a copy may be wanted again, after none could be placed
        self.check_at = 0.0  # when a look is scheduled; 0: none is

    def bid_at(self, view: ReplicaView) -> Bid | None:
        """Return this router's want at a replica."""
        if self.cold is not None and self.cold.view is view:
            return self.cold
        if self.copy is not None and self.copy.view is view:
            return self.copy
        return next((bid for bid in self.stranded if bid.view is view), None)

    def end(self, bid: Bid) -> None:
        """Forget a want that was answered, one way or another."""
        if self.cold is bid:
            self.cold = None
        elif self.copy is bid:
            self.copy = None
        else:
            self.stranded = tuple(other for other in self.stranded if other is not bid)

    def strand(self, bid: Bid) -> None:
        """Let other replicas be asked although the end of this want is not known."""
        self.end(bid)
        self.stranded += (bid,)

    @property
    def stranded_at(self) -> int:
        """Replicas that still owe the end of a want, as a mask: the model is not wanted there again before."""
        mask = 0
        for bid in self.stranded:
            mask |= bid.view.bit
        return mask

    def begin(self, now: float) -> None:
        """Begin to measure how fast the queue empties: until now nobody could be served."""
        self.busy_since = self.rate_since = now
        self.departed = self.moves = 0
        self.rate = 0.0

    def depart(self, now: float) -> None:
        """Count one request that left the queue for a replica."""
        if now - self.rate_since >= 1.0:
            self.rate = self.departed / (now - self.rate_since)
            self.departed = 0
            self.rate_since = now
        self.departed += 1

    def expected_wait_s(self, now: float) -> float:
        """Return the queue's length over its own recent departure rate.

        Where nothing departs, the head's age stands for it, less the time in which nobody could have served it.
        """
        elapsed = now - self.rate_since
        rate = max(self.rate, self.departed / elapsed if elapsed > 0 else 0.0)
        if rate <= 0.0:
            return now - max(self.busy_since, self.queue.head.arrived_at)
        return len(self.queue) / rate

    @property
    def idle(self) -> bool:
        return not (len(self.queue) or self.cold or self.copy or self.stranded or self.claims)


class Model:
    """One model that is held, loading or waited for somewhere."""

    __slots__ = ("demand", "holders", "load_s", "loading", "name", "noted", "point", "sole")

    def __init__(self, name: str) -> None:
        self.name = name
        self.point = point_of(name)
        self.holders = 0  # replicas on which it is resident, as a mask
        self.sole: ReplicaView | None = None  # its holder, if there is just one
        self.noted = 0  # of these, those in whose ``awaited`` it is
        self.loading = 0  # replicas that are fetching or loading it
        self.load_s = 0.0  # as last published; 0: not known
        self.demand: Demand | None = None

    def hold(self, view: ReplicaView) -> None:
        """Note a holder. A model with one shares the mask of that replica, which is as long as the pool is wide."""
        self.sole = view if self.holders in (0, view.bit) else None
        self.holders = self.holders | view.bit if self.holders else view.bit

    def leave(self, view: ReplicaView, pool: Pool) -> None:
        """Note that a replica does not hold the model."""
        rest = self.holders & ~view.bit
        self.sole = pool.view_of(rest) if rest and rest & (rest - 1) == 0 else None
        self.holders = self.sole.bit if self.sole is not None else rest
        if self.noted & view.bit:
            self.noted ^= view.bit
            del view.awaited[self]

    def __repr__(self) -> str:
        waiting = len(self.demand.queue) if self.demand else 0
        return f"<Model {self.name} on {self.holders:b} loading {self.loading:b} waiting {waiting}>"
