"""What the exit code of ``mux`` means. One table, for people, scripts and the documentation."""

from __future__ import annotations

from enum import IntEnum

from runtime import errors


class ExitCode(IntEnum):
    """The exit codes. Scripts may rely on them; they do not change meaning."""

    def __new__(cls, value: int, meaning: str = "") -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    OK = 0, "done"
    BUG = 1, "mux itself failed; the message says where the full traceback was written"
    USAGE = 2, "the command line is wrong, or the project is not clear"
    COULD_NOT_START = 3, "a process could not start; the message holds your own traceback"
    BAD_CONFIG = 4, "the configuration is wrong; every problem is listed with file:line:col"
    NOT_RUNNING = 5, "the project is not running"
    NOT_READY = 6, "it was not ready in time; it goes on starting"
    LOCKED = 7, "another command holds the project"
    NO_SUCH_THING = 8, "no deployment, replica, model, request or project by that name"
    REQUEST_FAILED = 9, "the request was answered with an error, or could not be sent"
    CHANGES_PENDING = 10, "deploy --dry-run found something to change"
    INTERRUPTED = 130, "Ctrl-C"


class UsageProblem(errors.MuxError):
    """What was typed does not say enough, or contradicts itself."""

    code = "usage"
    status = 400


class RequestFailed(errors.MuxError):
    """A request by ``mux request`` was answered with an error, or got no answer."""

    code = "request_failed"
    status = 502


# The first class that fits wins, so that a subclass stands before its base.
_BY_CLASS: tuple[tuple[type[errors.MuxError], ExitCode], ...] = (
    (UsageProblem, ExitCode.USAGE),
    (errors.ConfigError, ExitCode.BAD_CONFIG),
    (errors.TraceError, ExitCode.USAGE),
    (errors.StartError, ExitCode.COULD_NOT_START),
    (errors.NotRunning, ExitCode.NOT_RUNNING),
    (errors.NotReadyInTime, ExitCode.NOT_READY),
    (errors.Locked, ExitCode.LOCKED),
    (errors.NoSuchThing, ExitCode.NO_SUCH_THING),
    (errors.BadRequest, ExitCode.USAGE),
    (errors.BadModelId, ExitCode.USAGE),
    (errors.ModelNotFound, ExitCode.NO_SUCH_THING),
    (errors.RouteNotFound, ExitCode.NO_SUCH_THING),
    (errors.ObjectNotFound, ExitCode.NO_SUCH_THING),
    (RequestFailed, ExitCode.REQUEST_FAILED),
    (errors.RequestError, ExitCode.REQUEST_FAILED),
    (errors.StoreError, ExitCode.REQUEST_FAILED),
)


def exit_code(error: errors.MuxError) -> ExitCode:
    """Return the exit code of ``error``; a class that no row names is a bug of mux."""
    return next((code for cls, code in _BY_CLASS if isinstance(error, cls)), ExitCode.BUG)
