"""Every error that mux raises or answers with, as one tree on one page.

Each error carries a ``code`` (stable, for programs), an HTTP ``status``, a message (what happened, where) and
a ``hint`` (what to do). ``to_payload`` is the JSON body of an answer; it never holds a traceback.
"""

from __future__ import annotations

from typing import Any, ClassVar


class MuxError(Exception):
    """The root. ``retry_after_s`` is set where trying again later may help."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str = "", *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.retry_after_s = retry_after_s

    def to_payload(self, request_id: str = "") -> dict[str, Any]:
        """Return the JSON body of an error answer: ``error``, ``message``, ``request_id`` and, if known, ``hint``."""
        payload: dict[str, Any] = {"error": self.code, "message": self.message, "request_id": request_id}
        if self.hint:
            payload["hint"] = self.hint
        return payload


def class_of(code: str) -> type[MuxError]:
    """Return the class of a code that another process told; ``MuxError`` for one that this version does not know."""
    pending: list[type[MuxError]] = [MuxError]
    while pending:
        cls = pending.pop(0)
        if cls.code == code:
            return cls
        pending += cls.__subclasses__()
    return MuxError


# --- before anything runs -------------------------------------------------------------------------------


class ConfigError(MuxError):
    """The configuration is wrong; the message lists every problem with file:line:col."""

    code = "bad_config"
    status = 400


class StartError(MuxError):
    """A process could not start. ``traceback`` is the user's own, whole, or empty."""

    code = "could_not_start"

    def __init__(self, message: str, *, traceback: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback


class NotRunning(MuxError):
    """No supervisor runs for the project."""

    code = "not_running"
    status = 503


class NotReadyInTime(MuxError):
    """The project did not become ready before the deadline; it goes on starting."""

    code = "not_ready"
    status = 503


class Locked(MuxError):
    """Another command holds the project; the message names it."""

    code = "locked"
    status = 409


class NoSuchThing(MuxError):
    """A deployment, replica, model, request or project by that name is not known."""

    code = "not_found"
    status = 404


class TraceError(MuxError):
    """A file of recorded traffic cannot be read; the message says where."""

    code = "bad_trace"
    status = 400


class PortInUse(StartError):
    """The public address is taken."""

    code = "port_in_use"


# --- a request's fate -----------------------------------------------------------------------------------


class RequestError(MuxError):
    """The root of what a single request can be answered with."""


class BadRequest(RequestError):
    code = "bad_request"
    status = 400


class BadModelId(RequestError):
    code = "bad_model_id"
    status = 400


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401


class RouteNotFound(RequestError):
    code = "route_not_found"
    status = 404


class ModelNotFound(RequestError):
    """The source has no such model."""

    code = "model_not_found"
    status = 404


class RequestTimeout(RequestError):
    code = "request_timeout"
    status = 408


class CallTimeout(RequestTimeout, TimeoutError):
    """A deployment handle's call took longer than it may."""


class BodyTooLarge(RequestError):
    code = "body_too_large"
    status = 413


class HeadTooLarge(RequestError):
    code = "head_too_large"
    status = 431


class ClientGone(RequestError):
    """The client left; in logs only."""

    code = "client_gone"
    status = 499


class CallCancelled(RequestError):
    """A deployment handle's call was cancelled, by ``cancel()`` or with the request that made it."""

    code = "call_cancelled"
    status = 499


class CallCycle(RequestError):
    """A deployment would call itself, directly or through others: with bounded places that can wait for ever."""

    code = "call_cycle"
    status = 508


class UserCodeError(RequestError):
    """User code raised; its traceback is in the logs."""

    code = "user_code_failed"
    status = 500


class ReplicaDied(RequestError):
    """The replica died, or its link broke, while it may have been working on the request."""

    code = "replica_died"
    status = 502


class Unavailable(RequestError):
    """The root of the answers that say: not now."""

    code = "unavailable"
    status = 503


class QueueFull(Unavailable):
    code = "queue_full"


class TooManyModels(Unavailable):
    """Too many distinct models are waiting for a slot."""

    code = "too_many_models"


class Draining(Unavailable):
    code = "draining"


class NoReplicas(Unavailable):
    code = "no_replicas"


class SlotsBusy(Unavailable):
    """What is pinned, hangs or serves a long request leaves no room, so the model cannot be loaded now."""

    code = "slots_busy"


class SlotDeadlock(Unavailable):
    """Requests that hold a model each wait for another slot; the youngest is denied."""

    code = "slot_deadlock"
    default_hint = "a request keeps each model that it asks for until it ends: raise max_num_models_per_replica"


class ModelTooLarge(Unavailable):
    """The model is larger than the byte budget less what is pinned."""

    code = "model_too_large"


class ModelLoadFailed(Unavailable):
    """The loader raised; remembered for a while, answered to all who wait."""

    code = "model_load_failed"


class LoadTimeout(ModelLoadFailed):
    code = "load_timeout"


class ModelUnloaded(Unavailable):
    """An operator unloaded the model while the request waited."""

    code = "model_unloaded"


# --- stores ---------------------------------------------------------------------------------------------


class StoreError(MuxError):
    """A store could not be read (network, credentials, full disk)."""

    code = "store_failed"
    status = 503


class StoreUnreachable(StoreError):
    """The store did not answer, or answered that it cannot now."""

    code = "store_unreachable"


class ObjectNotFound(StoreError):
    """The store answered that the object does not exist."""

    code = "model_not_found"
    status = 404


# --- the wire -------------------------------------------------------------------------------------------


class ProtocolError(MuxError):
    """The peer broke the framed protocol; the link is closed."""

    code = "protocol_error"


class LinkLost(MuxError):
    """The link to the peer broke."""

    code = "link_lost"
    status = 502


def _leaves(cls: type[MuxError]) -> list[type[MuxError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _leaves(child))]


def by_code(code: str) -> type[MuxError]:
    """Return the class that answers with ``code``; ``MuxError`` for one that this version does not know."""
    known = [*_leaves(RequestError), *_leaves(StoreError), *_leaves(NoSuchThing)]
    for cls in known:
        if cls.code == code:
            return cls
    return MuxError
