"""Pushes this replica's state to every router the moment it changes: what is resident, and how busy it is."""

from __future__ import annotations

from runtime.core.events import ModelStatus, Summary
from runtime.link.connection import Link
from runtime.link.frames import FailureHead, ModelHead, State, SummaryHead


class Publisher:
    """Sends a new link the whole state, and every link every change."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._seq = 0

    def add(self, link: Link, models: tuple[ModelStatus, ...], summary: Summary) -> None:
        """Send the snapshot; from now on every change."""
        self._links[link.id] = link
        self._seq += 1
        heads = [_model_head(status) for status in models]
        link.send_state(State(self._seq, True, heads, _summary_head(summary)))

    def remove(self, link: Link) -> None:
        self._links.pop(link.id, None)

    def model(self, status: ModelStatus) -> None:
        self._send([_model_head(status)], None)

    def summary(self, summary: Summary) -> None:
        self._send([], _summary_head(summary))

    def _send(self, models: list[ModelHead], summary: SummaryHead | None) -> None:
        self._seq += 1
        state = State(self._seq, False, models, summary)
        for link in self._links.values():
            if link.alive:
                link.send_state(state)


def _summary_head(summary: Summary) -> SummaryHead:
    return SummaryHead(
        summary.in_flight, summary.free_slots, summary.evictable, summary.stuck, summary.coldness, summary.wants
    )


def _model_head(status: ModelStatus) -> ModelHead:
    failure = status.failure
    head = FailureHead(failure.code, failure.message[:2000], failure.retry_after_s) if failure else None
    return ModelHead(status.model, status.state, status.load_s, status.size_bytes, head)
