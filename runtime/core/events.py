"""What the brain hears and what it answers: the events and effects of both state machines.

``scheduler.py`` (router side) and ``residency.py`` with ``admission.py`` (replica side) take one event and the
current time and return effects. The shell performs the effects in order, with no await between. Every effect
carries ``case``: the number of the rule that made it, for ``mux explain``.

Times are seconds on any one monotonic clock; ages and durations cross processes, timestamps never do.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

ModelState = Literal["absent", "fetching", "loading", "resident", "draining", "unloading", "abandoned", "failed"]
WantKind = Literal["cold", "copy", "admin"]
RefusalReason = Literal["absent", "full", "draining", "failed"]
UnloadReason = Literal["evicted", "idle", "admin", "shutdown", "abandoned", "over_budget"]

Request = Hashable  # router side: an int; replica side: (link, stream)
LinkId = int


class Key(NamedTuple):
    """A model in one cache of a replica (one cache per multiplexed loader, numbered from 0)."""

    cache: int
    model: str


@dataclass(slots=True, frozen=True)
class Failure:
    """Why a request or a load failed: ``code`` is one of ``runtime.errors``."""

    code: str
    message: str
    retry_after_s: float | None = None


@dataclass(slots=True, frozen=True)
class ModelStatus:
    """One model on one replica, as its owner publishes it."""

    model: str
    state: ModelState
    load_s: float = 0.0
    size_bytes: int = 0
    failure: Failure | None = None


@dataclass(slots=True, frozen=True)
class Summary:
    """A replica's load, quantised; ages, never timestamps."""

    in_flight: int = 0
    free_slots: int = 0
    evictable: int = 0
    stuck: int = 0
    coldness: int = 0
    wants: int = 0


# --- router side: events --------------------------------------------------------------------------------


@dataclass(slots=True)
class RequestArrived:
    request: int
    model: str | None
    replayable: bool = True


@dataclass(slots=True)
class RequestCancelled:
    """The client left or the deadline passed. A dispatched request still ends with ``RequestFinished``."""

    request: int


@dataclass(slots=True)
class RequestBegan:
    """User code may have started: a death after this is not replayed (unless the method is safe)."""

    request: int


@dataclass(slots=True)
class RequestFinished:
    request: int


@dataclass(slots=True)
class RequestRefused:
    request: int
    why: RefusalReason
    failure: Failure | None = None


@dataclass(slots=True)
class ReplicaUp:
    """A replica connected; ``replica`` is a new id per incarnation, ``models`` a full snapshot."""

    replica: str
    index: int
    places: int
    slots: int
    caches: int = 1
    max_batch: int = 1
    max_concurrent_loads: int = 4
    models: tuple[ModelStatus, ...] = ()
    summary: Summary = Summary()


@dataclass(slots=True)
class ReplicaDraining:
    replica: str


@dataclass(slots=True)
class ReplicaDown:
    replica: str


@dataclass(slots=True)
class ModelChanged:
    replica: str
    status: ModelStatus


@dataclass(slots=True)
class SummaryChanged:
    replica: str
    summary: Summary


@dataclass(slots=True)
class PlaceOffered:
    """The replica owed this router a place and offers it; answered by a dispatch to it or ``PassPlace``."""

    replica: str


@dataclass(slots=True)
class WantWithdrawn:
    replica: str
    model: str


@dataclass(slots=True)
class Woken:
    """The moment that ``deadline()`` named has come."""


@dataclass(slots=True, frozen=True)
class SchedulerLimits:
    """What the config says about one deployment's queues."""

    max_queued_requests: int = -1
    hard_queue_ceiling: int = 100_000
    max_waiting_models: int = 10_000
    drain_limit_s: float = 30.0
    load_early: bool = True  # with exactly one cache: want the model before dispatch
    dispatch_failed: bool = False  # class form: dispatch although the early load failed


@dataclass(slots=True)
class LimitsChanged:
    limits: SchedulerLimits


SchedulerEvent = (
    RequestArrived | RequestCancelled | RequestBegan | RequestFinished | RequestRefused | ReplicaUp
    | ReplicaDraining | ReplicaDown | ModelChanged | SummaryChanged | PlaceOffered | WantWithdrawn
    | LimitsChanged | Woken
)  # fmt: skip

# --- router side: effects -------------------------------------------------------------------------------


@dataclass(slots=True)
class Dispatch:
    request: int
    replica: str
    model: str | None
    waited_s: float = 0.0
    case: int = 0


@dataclass(slots=True)
class Fail:
    request: int
    failure: Failure
    case: int = 0


@dataclass(slots=True)
class Want:
    replica: str
    model: str
    kind: WantKind
    age_s: float
    waiting: int
    spare: str | None = None
    case: int = 0


@dataclass(slots=True)
class Unwant:
    replica: str
    model: str
    case: int = 0


@dataclass(slots=True)
class Release:
    replica: str
    model: str
    case: int = 0


@dataclass(slots=True)
class PassPlace:
    replica: str
    case: int = 0


SchedulerEffect = Dispatch | Fail | Want | Unwant | Release | PassPlace

# --- replica side: events -------------------------------------------------------------------------------


@dataclass(slots=True)
class LinkUp:
    link: LinkId


@dataclass(slots=True)
class LinkDown:
    """The link's claims and wants go; its admitted requests still end with ``Ended``."""

    link: LinkId


@dataclass(slots=True)
class Wanted:
    link: LinkId
    model: str
    kind: WantKind
    age_s: float
    waiting: int
    spare: str | None = None


@dataclass(slots=True)
class Unwanted:
    link: LinkId
    model: str


@dataclass(slots=True)
class Released:
    link: LinkId
    model: str


@dataclass(slots=True)
class Offered:
    """A router dispatched ``request``; answered at once by ``Admit`` or ``Refuse``."""

    link: LinkId
    request: Request
    model: str | None


@dataclass(slots=True)
class PlacePassed:
    link: LinkId


@dataclass(slots=True)
class Asked:
    """User code called loader ``key.cache`` for ``key.model``; answered by ``Give`` or ``Deny`` to ``waiter``.

    ``request`` is the request on whose behalf it asked, or None outside one (then no lease is taken).
    """

    waiter: int
    request: Request | None
    key: Key


@dataclass(slots=True)
class AskCancelled:
    waiter: int


@dataclass(slots=True)
class Ended:
    """User code's response is complete, or its task was cancelled: leases and the place go back."""

    request: Request


@dataclass(slots=True)
class Fetched:
    key: Key
    size_bytes: int = 0


@dataclass(slots=True)
class FetchFailed:
    key: Key
    failure: Failure


@dataclass(slots=True)
class Loaded:
    key: Key
    size_bytes: int = 0


@dataclass(slots=True)
class LoadFailed:
    key: Key
    failure: Failure


@dataclass(slots=True)
class Unloaded:
    """The cleanup of an unloaded (or failed, or abandoned) model has returned."""

    key: Key


@dataclass(slots=True)
class PinChanged:
    key: Key
    pinned: bool


@dataclass(slots=True)
class UnloadAsked:
    """An operator wants the model gone: it drains, then unloads."""

    key: Key


@dataclass(slots=True)
class Preload:
    """Load ``key`` before ready or on an operator's word; failures are published, nobody waits in a queue."""

    key: Key
    pinned: bool = False


@dataclass(slots=True, frozen=True)
class ReplicaLimits:
    """What the config and the code say about one replica. ``slots[i]`` is the cap of cache i, -1 unlimited."""

    slots: tuple[int, ...] = (3,)
    places: int = 5
    max_batch: int = 1
    max_bytes: int | None = None
    max_concurrent_loads: int = 4
    eviction: str = "lru"
    swap_wait_s: float = 1.0
    drain_limit_s: float = 30.0
    idle_unload_s: float | None = None
    load_timeout_s: float = 300.0
    unload_timeout_s: float = 30.0
    claim_grace_s: float = 5.0
    load_early: bool = True  # with exactly one cache, a dispatch needs its model resident
    admit_failed: bool = False  # class form: admit although the early load failed, so that user code sees the error
    has_source: bool = False  # a fetch comes before the load


@dataclass(slots=True)
class ReplicaLimitsChanged:
    limits: ReplicaLimits


@dataclass(slots=True)
class Stopping:
    """Shut down: refuse what is offered, let what runs end, then unload every model."""


ResidencyEvent = (
    LinkUp | LinkDown | Wanted | Unwanted | Released | Offered | PlacePassed | Asked | AskCancelled | Ended
    | Fetched | FetchFailed | Loaded | LoadFailed | Unloaded | PinChanged | UnloadAsked | Preload
    | ReplicaLimitsChanged | Stopping | Woken
)  # fmt: skip

# --- replica side: effects ------------------------------------------------------------------------------


@dataclass(slots=True)
class Admit:
    """Run user code for ``request``. ``hit``: its model was resident (None: it names none, or loads on call)."""

    request: Request
    model: str | None
    hit: bool | None = None
    case: int = 0


@dataclass(slots=True)
class Refuse:
    link: LinkId
    request: Request
    why: RefusalReason
    failure: Failure | None = None
    case: int = 0


@dataclass(slots=True)
class OfferPlace:
    link: LinkId
    case: int = 0


@dataclass(slots=True)
class Give:
    """Hand the resident object of ``key`` to ``waiter``. ``hit``: no load was awaited."""

    waiter: int
    key: Key
    hit: bool = True
    case: int = 0


@dataclass(slots=True)
class Deny:
    waiter: int
    failure: Failure
    case: int = 0


@dataclass(slots=True)
class Fetch:
    key: Key
    case: int = 0


@dataclass(slots=True)
class Load:
    key: Key
    case: int = 0


@dataclass(slots=True)
class Unload:
    """Take the object out, run its cleanup exactly once, then report ``Unloaded``. ``room_for``: who is next."""

    key: Key
    why: UnloadReason = "evicted"
    room_for: Key | None = None
    case: int = 0


@dataclass(slots=True)
class Publish:
    """Push to every link at once. ``model`` is the key's model; for several caches the union of their states."""

    status: ModelStatus
    case: int = 0


@dataclass(slots=True)
class Withdrawn:
    link: LinkId
    model: str
    case: int = 0


@dataclass(slots=True)
class Summarise:
    summary: Summary
    case: int = 0


@dataclass(slots=True)
class Fault:
    """The replica cannot go on (every slot is abandoned): the supervisor restarts it."""

    why: str
    case: int = 0


ResidencyEffect = (
    Admit | Refuse | OfferPlace | Give | Deny | Fetch | Load | Unload | Publish | Withdrawn | Summarise | Fault
)
