"""What the brain of a replica hears, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

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
class Expected:
    """A router expects requests to come back in ``in_s``, when a load elsewhere has ended."""

    link: LinkId
    in_s: float


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
    LinkUp | LinkDown | Wanted | Unwanted | Released | Expected | Offered | PlacePassed | Asked | AskCancelled | Ended
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
