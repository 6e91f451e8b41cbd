"""Exceptions that cross a link: the exception itself where it can be pickled, always with the remote traceback."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from runtime.errors import CallTimeout, MuxError, UserCodeError, by_code
from runtime.link.frames import Abort, FailureHead, Refused
from runtime.serve.codec import Encoded, encode

_OWN_CODE: Final = str(Path(__file__).parent.parent) + "/"


class RemoteError(Exception):
    """The cause of an exception that was raised in another process: its traceback there, as text."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(where, text)
        self.where = where
        self.text = text

    def __str__(self) -> str:
        return f"in {self.where}\n\n{self.text.rstrip()}"


def encode_error(exc: BaseException, where: str) -> Encoded:
    """Return ``exc`` for the wire, with its traceback from the first frame of user code on.

    ``where`` says which replica it was raised in. What cannot be pickled, or not be read back, becomes a
    ``UserCodeError`` with the same message.
    """
    text = remote_traceback(exc)
    message = _message(exc)
    return encode((_pickled(exc, message), type(exc).__name__, message, text, where))


class _Bare:
    """An exception to be made again without its ``__init__``, which may take other arguments than it passed on."""

    def __init__(self, exc: BaseException) -> None:
        self._parts = (type(exc), exc.args, vars(exc))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, self._parts


def _made_again(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    exc = cls.__new__(cls, *args)
    exc.args = args
    vars(exc).update(state)
    return exc


def _pickled(exc: BaseException, message: str) -> bytes:
    """Return the form of ``exc`` that says the same when it is read back; empty if none can be read back."""
    readable = b""
    for form in (exc, _Bare(exc)):
        pickled, found = _read_back(form)
        if pickled and _message(found) == message:
            return pickled
        readable = readable or pickled
    return readable


def twin_of(exc: Exception) -> Exception:
    """Return another exception that says the same, for one more raiser; itself where none can be made."""
    message = _message(exc)
    for make in (copy, _bare_twin):
        twin = _made(make, exc)
        if twin is not None and _message(twin) == message:
            twin.__cause__, twin.__suppress_context__ = exc.__cause__, exc.__suppress_context__
            return twin
    return exc


def _bare_twin(exc: Exception) -> BaseException:
    return _made_again(type(exc), exc.args, vars(exc))


def _made(make: Callable[[Exception], object], exc: Exception) -> Exception | None:
    try:
        twin = make(exc)
    except Exception:  # user code: an __init__ that does not take its own args
        return None
    return twin if isinstance(twin, Exception) else None


def _read_back(form: object) -> tuple[bytes, Any]:
    try:
        pickled = pickle.dumps(form, protocol=5)
        return pickled, pickle.loads(pickled)
    except Exception:  # user code: its __reduce__ or __init__ can raise anything
        return b"", None


def from_wire(pickled: bytes, name: str, message: str, text: str, where: str) -> Exception:
    """Return the exception that ``encode_error`` was given, with a ``RemoteError`` as its cause.

    One that is not an ``Exception`` is a ``UserCodeError`` here: ``SystemExit`` was meant for the process that raised
    it, and would end the event loop of this one.
    """
    exc: Exception = UserCodeError(f"{name}: {message}" if message else name)
    if pickled:
        try:
            found = pickle.loads(pickled)
        except Exception:  # its class is not importable here, or its __init__ raises
            found = exc
        exc = found if isinstance(found, Exception) else exc
    exc.__cause__ = RemoteError(where, text)
    return exc


def remote_traceback(exc: BaseException) -> str:
    """Return the traceback as text, without the frames of this package that lead to user code."""
    whole = exc.__traceback__
    try:
        exc.__traceback__ = _first_of_user(whole)
        return "".join(traceback.format_exception(exc))
    finally:
        exc.__traceback__ = whole


def failure_error(failure: FailureHead | Abort | None, why: str) -> MuxError:
    """Return the error for a refusal or abort; ``why`` is used where the peer gave no reason."""
    if failure is None:
        return by_code("unavailable")(f"the call was refused: {why}")
    if failure.code == CallTimeout.code:
        return CallTimeout(failure.message)
    error = by_code(failure.code)(failure.message)
    if isinstance(failure, FailureHead):
        error.retry_after_s = failure.retry_after_s
    return error


def refusal_error(refused: Refused) -> MuxError:
    return failure_error(refused.failure, refused.why)


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:  # user code: its __str__ can raise anything
        return f"(no message: its __str__ raised {type(broken).__name__})"


def _first_of_user(start: TracebackType | None) -> TracebackType | None:
    current = start
    while current is not None and current.tb_frame.f_code.co_filename.startswith(_OWN_CODE):
        current = current.tb_next
    return current if current is not None else start
