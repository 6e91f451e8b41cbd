"""What the scheduler of a router hears, and what it answers."""

from __future__ import annotations

from msgspec import Struct

from runtime.core.terms import Failure, ModelStatus, RefusalReason, Summary, WantKind, Woken

# --- router side: events --------------------------------------------------------------------------------


class RequestArrived(Struct):
    request: int
    model: str | None
    replayable: bool = True


class RequestCancelled(Struct):
    """The client left or the deadline passed. A dispatched request still ends with ``RequestFinished``."""

    request: int


class RequestBegan(Struct):
    """User code may have started: a death after this is not replayed (unless the method is safe)."""

    request: int


class RequestFinished(Struct):
    request: int


class RequestRefused(Struct):
    request: int
    why: RefusalReason
    failure: Failure | None = None


class ReplicaUp(Struct):
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


class ReplicaDraining(Struct):
    replica: str


class ReplicaSuspected(Struct):
    """It does not answer: nothing new goes there. What runs and loads there goes on, for all anyone knows."""

    replica: str


class ReplicaTrusted(Struct):
    """A suspect answers again; ``models`` is what it holds."""

    replica: str
    models: tuple[ModelStatus, ...] = ()


class ReplicaDown(Struct):
    replica: str


class ModelChanged(Struct):
    replica: str
    status: ModelStatus


class SummaryChanged(Struct):
    replica: str
    summary: Summary


class PlaceOffered(Struct):
    """The replica owed this router a place and offers it; answered by a dispatch to it or ``PassPlace``."""

    replica: str


class WantWithdrawn(Struct):
    replica: str
    model: str


class SchedulerLimits(Struct, frozen=True):
    """What the config says about one deployment's queues."""

    max_queued_requests: int = -1
    hard_queue_ceiling: int = 100_000
    max_waiting_models: int = 10_000
    drain_limit_s: float = 30.0
    load_early: bool = True  # with exactly one cache: want the model before dispatch
    dispatch_failed: bool = False  # class form: dispatch although the early load failed


class LimitsChanged(Struct):
    limits: SchedulerLimits


SchedulerEvent = (
    RequestArrived | RequestCancelled | RequestBegan | RequestFinished | RequestRefused | ReplicaUp
    | ReplicaDraining | ReplicaSuspected | ReplicaTrusted | ReplicaDown | ModelChanged | SummaryChanged
    | PlaceOffered | WantWithdrawn | LimitsChanged | Woken
)  # fmt: skip

# --- router side: effects -------------------------------------------------------------------------------


class Dispatch(Struct):
    request: int
    replica: str
    model: str | None
    waited_s: float = 0.0
    case: int = 0


class Fail(Struct):
    request: int
    failure: Failure
    case: int = 0


class Want(Struct):
    replica: str
    model: str
    kind: WantKind
    age_s: float
    waiting: int
    spare: str | None = None
    case: int = 0


class Unwant(Struct):
    replica: str
    model: str
    case: int = 0


class Release(Struct):
    replica: str
    model: str
    case: int = 0


class PassPlace(Struct):
    replica: str
    case: int = 0


class Expect(Struct):
    """Another replica's load ends in ``in_s``: clients that wait for it come back then, some for models here."""

    replica: str
    in_s: float
    case: int = 0


SchedulerEffect = Dispatch | Fail | Want | Unwant | Release | PassPlace | Expect
