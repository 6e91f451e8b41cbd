"""What a scheduler decided lately, for ``explain``: bounded rings of effects and the requests they were for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from runtime.core.cases import sentence
from runtime.core.decisions import Decision
from runtime.core.events import Dispatch, Fail, Unwant, Want
from runtime.observe.text import timestamp

LIMIT: Final = 4096
HITS: Final = 512  # few, as there is little to explain, and a long ring washes the processor's caches
LOADS: Final = frozenset({142, 143, 147})  # failures of requests that a load is to blame for
SLACK_S: Final = 0.005  # between an event and the note of what it led to
_VERBS: Final[dict[type, str]] = {Dispatch: "dispatched", Fail: "failed", Want: "wanted", Unwant: "want taken back"}

Noted = Dispatch | Fail | Want | Unwant


class Entry(NamedTuple):
    """One effect. ``at`` is the pool's clock."""

    at: float
    effect: Noted
    model: str
    request_id: str


class Journal:
    """The last effects; a ring of its own for requests that were dispatched at once, so that they push nothing out.

    ``decisions`` gives the scheduler's, which tell the time by ``clock`` too.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        decisions: Callable[[], Sequence[Decision]] = tuple,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._decisions = decisions
        self._wall = wall
        self._ring: deque[tuple[float, Noted, str, str]] = deque(maxlen=LIMIT)  # as ``Entry``, made when asked for
        self._hits: deque[tuple[float, Noted, str, str]] = deque(maxlen=HITS)

    def note(self, effect: Noted, model: str, request_id: str) -> None:
        ring = self._hits if type(effect) is Dispatch and not effect.waited_s else self._ring
        ring.append((self._clock(), effect, model, request_id))

    def records(self, router: str, *, request_id: str = "", model: str = "") -> list[dict[str, Any]]:
        """Return what concerns a model, or a request: how its model came to where it was, and what became of it.

        The oldest first. ``at`` is wall clock time, so that the records of several processes can be put in order.
        """
        found = self._of_request(request_id) if request_id else [e for e in self._entries() if e.model == model]
        choices = [decision for decision in self._decisions() if decision.candidates] if found else []
        shift = self._wall() - self._clock()
        return [self._record(entry, router, shift, choices) for entry in found]

    def _entries(self) -> list[Entry]:
        """Return all of both rings, oldest first."""
        return sorted((Entry(*each) for each in (*self._ring, *self._hits)), key=lambda entry: entry.at)

    def _of_request(self, request_id: str) -> list[Entry]:
        """Return the entries of a request, and the wants for its model from the one that brought it there."""
        entries = self._entries()
        own = [entry for entry in entries if entry.request_id == request_id]
        if not own:
            return []
        first, last = own[0], own[-1]
        waited_s = first.effect.waited_s if isinstance(first.effect, Dispatch) else 0.0
        arrived = first.at - waited_s - SLACK_S
        home = last.effect.replica if isinstance(last.effect, Dispatch) else ""
        anywhere = isinstance(last.effect, Fail) and last.effect.case in LOADS
        wants = [e for e in entries if e.model == last.model != "" and isinstance(e.effect, Want | Unwant)]
        asked = [e for e in wants if isinstance(e.effect, Want) and e.at <= last.at]
        brought = [entry.at for entry in asked if anywhere or getattr(entry.effect, "replica", "") == home]
        since = min(arrived, max(brought, default=arrived))
        return sorted([*own, *(e for e in wants if since <= e.at <= last.at)], key=lambda entry: entry.at)

    def _record(self, entry: Entry, router: str, shift: float, choices: list[Decision]) -> dict[str, Any]:
        effect = entry.effect
        failure = effect.failure if isinstance(effect, Fail) else None
        choice = _choice(entry, choices)
        error = failure.message if failure is not None else ""
        return {
            "at": entry.at + shift,
            "age_s": round(self._clock() - entry.at, 3),
            "who": router,
            "what": _VERBS[type(effect)],
            "model": entry.model,
            "request_id": entry.request_id,
            "replica": "" if isinstance(effect, Fail) else effect.replica,
            "waited_s": round(effect.waited_s, 4) if isinstance(effect, Dispatch) else 0.0,
            "case": effect.case,
            "because": sentence(effect.case),
            "error": error,
            "candidates": [{"name": one.name, **one.values()} for one in choice.candidates] if choice else [],
            "line": f"{timestamp(entry.at + shift)} {router}: {_words(entry, error)}",
        }


def _choice(entry: Entry, choices: list[Decision]) -> Decision | None:
    """Return the decision behind a want: the latest of that rule, model and replica that is no younger."""
    effect = entry.effect
    if not isinstance(effect, Want):
        return None
    for one in reversed(choices):
        if (one.case, one.model, one.chosen) == (effect.case, entry.model, effect.replica) and one.at <= entry.at:
            return one
    return None


def _words(entry: Entry, error: str) -> str:
    """Return what was done and by which rule."""
    effect = entry.effect
    model = f"model {entry.model!r}" if entry.model else ""
    subject = " for ".join(part for part in (f"request {entry.request_id}" * bool(entry.request_id), model) if part)
    because = ": ".join(part for part in (sentence(effect.case), error) if part)
    tail = f": {because}" if because else ""
    if isinstance(effect, Dispatch):
        waited = f" after {effect.waited_s:.3f} s" if effect.waited_s else ""
        return f"{subject} dispatched to {effect.replica}{waited}{tail}"
    if isinstance(effect, Want):
        return f"{subject} wanted on {effect.replica} ({effect.kind}, {effect.waiting} waiting){tail}"
    if isinstance(effect, Unwant):
        return f"want of {subject} on {effect.replica} taken back{tail}"
    return f"{subject} failed{tail}"
