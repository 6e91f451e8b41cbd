"""What the brain of a replica hears, and what it answers."""

from __future__ import annotations

from msgspec import Struct

from runtime.core.terms import (
    Failure,
    Key,
    LinkId,
    ModelStatus,
    RefusalReason,
    Request,
    Summary,
    UnloadReason,
    WantKind,
    Woken,
)

# --- replica side: events -------------------------------------------------------------------------------


class LinkUp(Struct):
    link: LinkId


class LinkDown(Struct):
    """The link's claims and wants go; its admitted requests still end with ``Ended``."""

    link: LinkId


class Wanted(Struct):
    link: LinkId
    model: str
    kind: WantKind
    age_s: float
    waiting: int
    spare: str | None = None


class Unwanted(Struct):
    link: LinkId
    model: str


class Released(Struct):
    link: LinkId
    model: str


class Expected(Struct):
    """A router expects requests to come back in ``in_s``, when a load elsewhere has ended."""

    link: LinkId
    in_s: float


class Offered(Struct):
    """A router dispatched ``request``; answered at once by ``Admit`` or ``Refuse``."""

    link: LinkId
    request: Request
    model: str | None


class PlacePassed(Struct):
    link: LinkId


class Asked(Struct):
    """User code called loader ``key.cache`` for ``key.model``; answered by ``Give`` or ``Deny`` to ``waiter``.

    ``request`` is the request on whose behalf it asked, or None outside one (then no lease is taken).
    """

    waiter: int
    request: Request | None
    key: Key


class AskCancelled(Struct):
    waiter: int


class Ended(Struct):
    """User code's response is complete, or its task was cancelled: leases and the place go back."""

    request: Request


class Fetched(Struct):
    key: Key
    size_bytes: int = 0


class FetchFailed(Struct):
    key: Key
    failure: Failure


class Loaded(Struct):
    key: Key
    size_bytes: int = 0


class LoadFailed(Struct):
    key: Key
    failure: Failure


class Unloaded(Struct):
    """The cleanup of an unloaded (or failed, or abandoned) model has returned."""

    key: Key


class PinChanged(Struct):
    key: Key
    pinned: bool


class UnloadAsked(Struct):
    """An operator wants the model gone: it drains, then unloads."""

    key: Key


class Preload(Struct):
    """Load ``key`` before ready or on an operator's word; failures are published, nobody waits in a queue."""

    key: Key
    pinned: bool = False


class ReplicaLimits(Struct, frozen=True):
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


class ReplicaLimitsChanged(Struct):
    limits: ReplicaLimits


class Stopping(Struct):
    """Shut down: refuse what is offered, let what runs end, then unload every model."""


ResidencyEvent = (
    LinkUp | LinkDown | Wanted | Unwanted | Released | Expected | Offered | PlacePassed | Asked | AskCancelled | Ended
    | Fetched | FetchFailed | Loaded | LoadFailed | Unloaded | PinChanged | UnloadAsked | Preload
    | ReplicaLimitsChanged | Stopping | Woken
)  # fmt: skip

# --- replica side: effects ------------------------------------------------------------------------------


class Admit(Struct):
    """Run user code for ``request``. ``hit``: its model was resident (None: it names none, or loads on call)."""

    request: Request
    model: str | None
    hit: bool | None = None
    case: int = 0


class Refuse(Struct):
    link: LinkId
    request: Request
    why: RefusalReason
    failure: Failure | None = None
    case: int = 0


class OfferPlace(Struct):
    link: LinkId
    case: int = 0


class Give(Struct):
    """Hand the resident object of ``key`` to ``waiter``. ``hit``: no load was awaited."""

    waiter: int
    key: Key
    hit: bool = True
    case: int = 0


class Deny(Struct):
    waiter: int
    failure: Failure
    case: int = 0


class Fetch(Struct):
    key: Key
    case: int = 0


class Load(Struct):
    key: Key
    case: int = 0


class Unload(Struct):
    """Take the object out, run its cleanup exactly once, then report ``Unloaded``. ``room_for``: who is next."""

    key: Key
    why: UnloadReason = "evicted"
    room_for: Key | None = None
    case: int = 0


class Publish(Struct):
    """Push to every link at once. ``model`` is the key's model; for several caches the union of their states."""

    status: ModelStatus
    case: int = 0


class Withdrawn(Struct):
    link: LinkId
    model: str
    case: int = 0


class Summarise(Struct):
    summary: Summary
    case: int = 0


class Fault(Struct):
    """The replica cannot go on (every slot is abandoned): the supervisor restarts it."""

    why: str
    case: int = 0


ResidencyEffect = (
    Admit | Refuse | OfferPlace | Give | Deny | Fetch | Load | Unload | Publish | Withdrawn | Summarise | Fault
)
