"""Errors as they cross the control socket, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.errors import MuxError, StartError, class_of
from runtime.supervisor.api import Event


def fault_of(error: BaseException) -> MuxError:
    """Return the error to show for a bug of the supervisor."""
    return MuxError(f"The supervisor has a fault: {error!r}.", hint="Its log has the traceback: mux logs supervisor.")


def to_event(error: MuxError) -> Event:
    """Return the last event of a command that failed."""
    return Event(
        kind="failed",
        message=error.message,
        code=error.code,
        hint=error.hint,
        traceback=error.traceback if isinstance(error, StartError) else "",
    )


def to_payload(error: MuxError) -> dict[str, Any]:
    """Return the JSON body of an error answer of the control API."""
    return {"error": error.code, "message": error.message, "hint": error.hint}


def from_event(event: Event) -> MuxError:
    """Return the error that a ``failed`` event tells of."""
    return from_payload(
        {"error": event.code, "message": event.message, "hint": event.hint, "traceback": event.traceback}
    )


def from_payload(payload: Mapping[str, Any]) -> MuxError:
    """Return the error of a payload; a ``MuxError`` for a code that this version does not know."""
    cls = class_of(str(payload.get("error", "")))
    message, hint = str(payload.get("message", "")), str(payload.get("hint", ""))
    if issubclass(cls, StartError):
        return cls(message, hint=hint, traceback=str(payload.get("traceback", "")))
    return cls(message, hint=hint)
