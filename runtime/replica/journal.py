"""What the brain decided lately and for whom, for ``mux explain``: bounded rings of effects."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from runtime.core.cases import sentence
from runtime.core.events import Admit, Deny, Fault, Fetch, Give, Load, Refuse, ResidencyEffect, Unload, Withdrawn

LIMIT: Final = 4096
_VERBS: Final[dict[type, str]] = {
    Admit: "admitted", Refuse: "refused", Give: "model handed over", Deny: "model denied", Fetch: "fetching",
    Load: "loading", Unload: "unloading", Withdrawn: "want withdrawn", Fault: "fault",
}  # fmt: skip


class Entry(NamedTuple):
    """One effect. ``at`` is wall clock time, which processes share."""

    at: float
    effect: ResidencyEffect
    model: str
    request_id: str


class Journal:
    """The last effects of the process called ``name``; a ring for requests, so that they cannot push loads out."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._moves: deque[Entry] = deque(maxlen=LIMIT)
        self._requests: deque[tuple[float, ResidencyEffect, str, str]] = deque(maxlen=LIMIT)  # as ``Entry``

    def note(self, effect: ResidencyEffect, model: str, request_id: str = "") -> None:
        """Note a move of a model, or a refusal."""
        self._moves.append(Entry(self._clock(), effect, model, request_id))

    def note_request(self, effect: ResidencyEffect, model: str, request_id: str) -> None:
        """Note what every request has: its admission, and that it was given its model."""
        self._requests.append((self._clock(), effect, model, request_id))

    def records(self, *, request_id: str = "", model: str = "") -> list[dict[str, Any]]:
        """Return what concerns a request (and its models' loads meanwhile) or a model, oldest first."""
        entries = sorted([*self._moves, *(Entry(*each) for each in self._requests)], key=lambda entry: entry.at)
        if request_id:
            models = {entry.model for entry in entries if entry.request_id == request_id and entry.model}
            return [self._record(e) for e in entries if e.request_id == request_id or _moves(e, models)]
        return [self._record(entry) for entry in entries if entry.model == model]

    def _record(self, entry: Entry) -> dict[str, Any]:
        effect = entry.effect
        failure = getattr(effect, "failure", None)
        record = {
            "at": entry.at,
            "process": self._name,
            "what": _VERBS[type(effect)],
            "model": entry.model,
            "request_id": entry.request_id,
            "case": effect.case,
            "why": getattr(effect, "why", ""),
            "because": sentence(effect.case),
            "error": failure.message if failure is not None else "",
        }
        return {**record, "line": _line(record, self._clock() - entry.at)}


def _moves(entry: Entry, models: set[str]) -> bool:
    return entry.model in models and isinstance(entry.effect, Fetch | Load | Unload)


def _line(record: dict[str, Any], age_s: float) -> str:
    """Return a record in words."""
    subject = f" model {record['model']!r}" if record["model"] else ""
    request = f" for request {record['request_id']}" if record["request_id"] else ""
    why = f" ({record['why']})" if record["why"] else ""
    because = f": {record['because']}" if record["because"] else ""
    return f"{age_s:.3f} s ago, {record['process']}: {record['what']}{subject}{request}{why}{because}"
