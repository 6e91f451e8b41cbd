"""What the scheduler of a router hears, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.core.terms import Failure, ModelStatus, RefusalReason, Summary, WantKind, Woken

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
    summary: Summary = field(default_factory=Summary)


@dataclass(slots=True)
class ReplicaDraining:
    replica: str


@dataclass(slots=True)
class ReplicaSuspected:
    """It does not answer: nothing new goes there. What runs and loads there goes on, for all anyone knows."""

    replica: str


@dataclass(slots=True)
class ReplicaTrusted:
    """A suspect answers again; ``models`` is what it holds."""

    replica: str
    models: tuple[ModelStatus, ...] = ()


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
    | ReplicaDraining | ReplicaSuspected | ReplicaTrusted | ReplicaDown | ModelChanged | SummaryChanged
    | PlaceOffered | WantWithdrawn | LimitsChanged | Woken
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


@dataclass(slots=True)
class Expect:
    """Another replica's load ends in ``in_s``: clients that wait for it come back then, some for models here."""

    replica: str
    in_s: float
    case: int = 0


SchedulerEffect = Dispatch | Fail | Want | Unwant | Release | PassPlace | Expect
