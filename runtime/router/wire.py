"""Heads of the wire as the brain's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from runtime.core.events import Failure, ModelState, ModelStatus, RefusalReason, ReplicaUp, Summary

if TYPE_CHECKING:
    from runtime.link.frames import FailureHead, Hello, ModelHead, Refused, State, SummaryHead


def failure_of(head: FailureHead | None) -> Failure | None:
    return Failure(head.code, head.message, head.retry_after_s) if head is not None else None


def status_of(head: ModelHead) -> ModelStatus:
    state = cast("ModelState", head.state)
    return ModelStatus(head.model, state, head.load_s, head.size_bytes, failure_of(head.failure))


def summary_of(head: SummaryHead) -> Summary:
    return Summary(head.in_flight, head.free_slots, head.evictable, head.stuck, head.coldness, head.wants)


def reason_of(refused: Refused) -> RefusalReason:
    return cast("RefusalReason", refused.why)


def replica_up(replica: str, hello: Hello, state: State) -> ReplicaUp:
    """Return the event for a replica whose hello and first snapshot are here."""
    return ReplicaUp(
        replica,
        hello.index,
        hello.places,
        hello.slots,
        hello.caches,
        hello.max_batch,
        hello.max_concurrent_loads,
        tuple(status_of(model) for model in state.models),
        summary_of(state.summary) if state.summary is not None else Summary(),
    )
