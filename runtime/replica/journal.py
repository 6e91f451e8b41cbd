"""What the brain decided lately and for whom, for ``mux explain``: bounded rings of effects."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from runtime.core.cases import sentence
from runtime.core.decisions import Decision
from runtime.core.events import Admit, Deny, Fault, Fetch, Give, Load, Refuse, ResidencyEffect, Unload, Withdrawn
from runtime.observe.text import timestamp

LIMIT: Final = 4096
HITS: Final = 512  # few, as there is little to explain, and a long ring washes the processor's caches
NEAR_S: Final = 0.05  # a decision and the effect that it led to are noted within so much of each other
UNTOLD: Final = frozenset({241, 261, 268, 269})  # decisions that no effect tells of
_VERBS: Final[dict[type, str]] = {
    Admit: "admitted", Refuse: "refused", Give: "given", Deny: "denied", Fetch: "fetching", Load: "loading",
    Unload: "unloading", Withdrawn: "want given back", Fault: "fault",
}  # fmt: skip


class Entry(NamedTuple):
    """One effect. ``at`` is wall clock time, which processes share."""

    at: float
    effect: ResidencyEffect
    model: str
    request_id: str


class Journal:
    """The last effects of the process called ``name``; rings for requests, so that they cannot push loads out.

    ``decisions`` gives the residency's, which tell the time by ``clock``, as everything it does.
    """

    def __init__(
        self,
        name: str,
        wall: Callable[[], float],
        decisions: Callable[[], Sequence[Decision]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._wall = wall
        self._decisions = decisions
        self._clock = clock
        self._moves: deque[Entry] = deque(maxlen=LIMIT)
        self._requests: deque[tuple[float, ResidencyEffect, str, str]] = deque(maxlen=LIMIT)  # as ``Entry``
        self._hits: deque[tuple[float, ResidencyEffect, str, str]] = deque(maxlen=HITS)

    def note(self, effect: ResidencyEffect, model: str, request_id: str = "") -> None:
        """Note a move of a model, or a refusal."""
        self._moves.append(Entry(self._wall(), effect, model, request_id))

    def note_request(self, effect: Admit | Give, model: str, request_id: str) -> None:
        """Note what every request has: its admission, and that it was given its model."""
        ring = self._requests if effect.hit is False else self._hits
        ring.append((self._wall(), effect, model, request_id))

    def records(self, *, request_id: str = "", model: str = "") -> list[dict[str, Any]]:
        """Return what concerns a model, or a request: how its model came to be here, and what became of it.

        The oldest first; what was unloaded to make room for the model is told too.
        """
        requests = [Entry(*each) for each in (*self._requests, *self._hits)]
        entries = sorted([*self._moves, *requests], key=lambda entry: entry.at)
        shift = self._wall() - self._clock()
        choices = [decision._replace(at=decision.at + shift) for decision in self._decisions()]
        if request_id:
            found, since, until, models = _of_request(entries, request_id)
        else:
            found = [entry for entry in entries if entry.model == model or _room_for(entry) == model]
            since, until, models = float("-inf"), float("inf"), {model}
        untold = [c for c in choices if c.case in UNTOLD and {c.model, c.chosen} & models and since <= c.at <= until]
        told = [self._record(entry, choices) for entry in found] + [self._of_decision(choice) for choice in untold]
        return sorted(told, key=lambda record: float(record["at"]))

    def _record(self, entry: Entry, choices: list[Decision]) -> dict[str, Any]:
        effect = entry.effect
        failure = getattr(effect, "failure", None)
        choice = _choice(entry, choices)
        return {
            "at": entry.at,
            "process": self._name,
            "what": _VERBS[type(effect)],
            "model": entry.model,
            "request_id": entry.request_id,
            "case": effect.case,
            "why": getattr(effect, "why", ""),
            "because": sentence(effect.case),
            "error": failure.message if failure is not None else "",
            "candidates": _candidates(choice) if choice is not None else [],
            "line": f"{timestamp(entry.at)} {self._name}: {_words(entry)}",
        }

    def _of_decision(self, choice: Decision) -> dict[str, Any]:
        """Return the record of a decision about a busy model, or of a failed load."""
        what, model, words = _told(choice)
        return {
            "at": choice.at,
            "process": self._name,
            "what": what,
            "model": model,
            "request_id": "",
            "case": choice.case,
            "why": "",
            "because": sentence(choice.case),
            "error": "",
            "candidates": _candidates(choice),
            "line": f"{timestamp(choice.at)} {self._name}: {words}: {sentence(choice.case)}",
        }


def _told(choice: Decision) -> tuple[str, str, str]:
    """Return what a decision without an effect did, to which model, and that in words."""
    if choice.case == 241:
        return "failed", choice.model, f"model {choice.model!r} failed ({choice.chosen})"
    if choice.case == 261:
        return "yields", choice.chosen, f"model {choice.chosen!r} yields to model {choice.model!r}"
    return "stays", choice.chosen or choice.model, f"model {choice.chosen or choice.model!r} stays"


def _of_request(entries: list[Entry], request_id: str) -> tuple[list[Entry], float, float, set[str]]:
    """Return what concerns a request, from when to when that is, and the models that it used."""
    own = [entry for entry in entries if entry.request_id == request_id]
    if not own:
        return [], 0.0, -1.0, set()
    first, last, models = own[0].at, own[-1].at, {entry.model for entry in own if entry.model}
    gone = [e.at for e in entries if e.model in models and isinstance(e.effect, Unload) and e.at < first]
    since = max(gone, default=float("-inf"))  # before that, it was another stay of the model
    moves = [e for e in entries if since < e.at <= last and (_moves(e, models) or _room_for(e) in models)]
    brought = [e.at for e in moves]
    return sorted([*own, *moves], key=lambda e: e.at), min(brought, default=first) - NEAR_S, last, models


def _moves(entry: Entry, models: set[str]) -> bool:
    return entry.model in models and not entry.request_id and isinstance(entry.effect, Fetch | Load | Unload)


def _room_for(entry: Entry) -> str:
    """Return the model that an unload made room for; empty for anything else."""
    effect = entry.effect
    return effect.room_for.model if isinstance(effect, Unload) and effect.room_for is not None else ""


def _choice(entry: Entry, choices: list[Decision]) -> Decision | None:
    """Return the decision behind an eviction: the latest one of the same rule and victim."""
    if not isinstance(entry.effect, Unload):
        return None
    for one in reversed(choices):
        if one.case == entry.effect.case and one.chosen == entry.model and abs(one.at - entry.at) <= NEAR_S:
            return one
    return None


def _candidates(choice: Decision) -> list[dict[str, Any]]:
    return [{"name": one.name, **one.values()} for one in choice.candidates]


def _words(entry: Entry) -> str:
    """Return what was done and by which rule."""
    effect = entry.effect
    failure = getattr(effect, "failure", None)
    because = (failure.message if failure is not None else "") or sentence(effect.case)
    return _deed(entry) + (f": {because}" if because else "")


def _deed(entry: Entry) -> str:
    effect = entry.effect
    model = f"model {entry.model!r}" if entry.model else "no model"
    request = f"request {entry.request_id}" if entry.request_id else "user code outside a request"
    if isinstance(effect, Admit):
        return f"admitted {request} for {model}"
    if isinstance(effect, Refuse):
        return f"refused {request} for {model} ({effect.why})"
    if isinstance(effect, Give):
        return f"gave {model} to {request}"
    if isinstance(effect, Deny):
        return f"denied {model} to {request}"
    if isinstance(effect, Unload):
        room = f" to make room for model {effect.room_for.model!r}" if effect.room_for is not None else ""
        return f"unloading {model} ({effect.why}){room}"
    if isinstance(effect, Withdrawn):
        return f"gave back the want of {model}"
    if isinstance(effect, Fault):
        return f"cannot go on ({effect.why})"
    return f"{_VERBS[type(effect)]} {model}"
