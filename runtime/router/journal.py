"""What a scheduler decided lately, for ``explain``: a bounded ring of effects and the requests they were for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from runtime.core.cases import sentence
from runtime.core.events import Dispatch, Fail, Unwant, Want

LIMIT: Final = 4096
_VERBS: Final[dict[type, str]] = {Dispatch: "dispatched", Fail: "failed", Want: "wanted", Unwant: "want taken back"}

Noted = Dispatch | Fail | Want | Unwant


class Entry(NamedTuple):
    """One effect. ``at`` is the pool's clock."""

    at: float
    effect: Noted
    model: str
    request_id: str


class Journal:
    """The last effects, oldest first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ring: deque[Entry] = deque(maxlen=LIMIT)

    def note(self, effect: Noted, model: str, request_id: str) -> None:
        self._ring.append(Entry(self._clock(), effect, model, request_id))

    def records(self, router: str, *, request_id: str = "", model: str = "") -> list[dict[str, Any]]:
        """Return what concerns a request (and the wants for its model) or a model, oldest first."""
        models = {model} if model else {e.model for e in self._ring if e.request_id == request_id and e.model}
        return [
            self._record(entry, router)
            for entry in self._ring
            if (entry.request_id == request_id if request_id and entry.request_id else entry.model in models)
        ]

    def _record(self, entry: Entry, router: str) -> dict[str, Any]:
        effect = entry.effect
        failure = effect.failure if isinstance(effect, Fail) else None
        record = {
            "age_s": round(self._clock() - entry.at, 3),
            "who": router,
            "what": _VERBS[type(effect)],
            "model": entry.model,
            "request_id": entry.request_id,
            "replica": "" if isinstance(effect, Fail) else effect.replica,
            "waited_s": round(effect.waited_s, 4) if isinstance(effect, Dispatch) else 0.0,
            "case": effect.case,
            "because": sentence(effect.case),
            "error": failure.message if failure is not None else "",
        }
        return {**record, "line": _line(record)}


def _line(record: dict[str, Any]) -> str:
    """Return a record in words."""
    request = f"request {record['request_id']}" if record["request_id"] else ""
    model = f"model {record['model']!r}" if record["model"] else ""
    subject = " for ".join(part for part in (request, model) if part)
    where = f" to {record['replica']}" if record["what"] == "dispatched" else f" on {record['replica']}"
    waited = f" after {record['waited_s']:.3f} s" if record["waited_s"] else ""
    because = f": {record['error'] or record['because']}" if record["error"] or record["because"] else ""
    place = where if record["replica"] else ""
    return f"{record['age_s']:.3f} s ago, {record['who']}: {subject} {record['what']}{place}{waited}{because}"
