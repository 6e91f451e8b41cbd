"""Finding user code by its import path, and telling whose fault it is when that fails."""

from __future__ import annotations

import difflib
import importlib
import itertools
import linecache
import os
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from runtime.errors import StartError

_OWN_CODE: Final = str(Path(__file__).parent.parent) + "/"
_STANDARD_LIBRARY: Final = str(Path(os.__file__).parent) + "/"


def import_object(import_path: str, what: str, config_dir: str) -> Any:
    """Return the object at ``module:attribute``. ``what`` is the config key, for the message.

    Raises ``StartError``: without a traceback if the module or attribute is missing, with the user's own if the
    module exists and its import failed. (The distinction is uvicorn's.)
    """
    module_name, _, attributes = import_path.partition(":")
    if not module_name or not attributes:
        raise StartError(f"{what}: {import_path!r} is not an import path", hint="write it as module:attribute")
    found = _import_module(module_name, what, config_dir)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as exc:
            where = getattr(found, "__file__", None) or module_name
            raise StartError(
                f"{what}: {where} has no attribute {attribute!r} (from {import_path!r})",
                hint=_suggestion(found, attribute),
            ) from exc
    return found


def _import_module(name: str, what: str, config_dir: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (exc.name == name or name.startswith(exc.name + ".")):
            raise StartError(
                f"{what}: there is no module {name!r}: no {name.replace('.', '/')}.py in {config_dir}",
                hint="module names are looked up beside the config file",
            ) from exc
        raise _import_failed(name, what, exc) from exc
    except (Exception, SystemExit) as exc:
        raise _import_failed(name, what, exc) from exc


def _import_failed(name: str, what: str, exc: BaseException) -> StartError:
    message = f"{what}: importing {name!r} failed: {describe(exc)}"
    return StartError(message, traceback=user_traceback(exc))


def _suggestion(found: Any, attribute: str) -> str:
    public = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
    close = difflib.get_close_matches(attribute, public, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def describe(exc: BaseException, limit: int = 300) -> str:
    """Return the exception in one line: its type, and the first line of its message."""
    try:
        lines = str(exc).strip().splitlines()
    except Exception:  # of the user's own __str__; said as in tracebacks
        lines = ["<exception str() failed>"]
    return (f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__)[:limit]


def user_traceback(exc: BaseException) -> str:
    """Return the whole traceback of ``exc``, beginning at the first frame that is the user's."""
    linecache.checkcache()
    _trim(exc, set())
    return "".join(traceback.format_exception(exc))


def user_place(exc: BaseException) -> tuple[str, int]:
    """Return the file's name and the line of the innermost frame that is neither ours nor a library's; ("", 0) if none.

    Outermost frames of ours may have been trimmed already.
    """
    found = ("", 0)
    current = exc.__traceback__
    while current is not None:
        filename = current.tb_frame.f_code.co_filename
        if not is_machinery(filename) and not is_library(filename):
            found = (filename.rpartition("/")[2], current.tb_lineno)
        current = current.tb_next
    return found


def is_library(filename: str) -> bool:
    """Return whether a file belongs to an installed package or the standard library."""
    return "/site-packages/" in filename or filename.startswith((_STANDARD_LIBRARY, "<frozen"))


def _trim(exc: BaseException, seen: set[int]) -> None:
    """Take our frames and the import machinery's out, in the whole chain of causes."""
    while id(exc) not in seen:
        seen.add(id(exc))
        exc.__traceback__ = _of_user(exc.__traceback__)
        following = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        if following is None:
            return
        exc = following


def _of_user(start: TracebackType | None) -> TracebackType | None:
    """Return a traceback without our frames, but for those below the last of the user's: what went wrong there."""
    frames = []
    current = start
    while current is not None:
        frames.append(current)
        current = current.tb_next
    users = [number for number, one in enumerate(frames) if not is_machinery(one.tb_frame.f_code.co_filename)]
    if not users:
        return None  # a call with wrong arguments, or a syntax error: the exception says the rest
    kept = [frames[number] for number in users] + frames[users[-1] + 1 :]
    for one, following in itertools.pairwise(kept):
        one.tb_next = following
    return kept[0]


def is_machinery(filename: str) -> bool:
    """Return whether a file is ours or the import system's, not the user's."""
    return filename.startswith((_OWN_CODE, "<frozen importlib")) or filename.endswith("/importlib/__init__.py")
