"""From a file to a configuration, or to everything that is wrong with it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from runtime.config.checks import Parts, check
from runtime.config.document import Document, Positions
from runtime.config.fields import Section
from runtime.config.keys import is_as_written, is_secret
from runtime.config.models import Config, Deployment, Http, ModelIdConfig
from runtime.config.problems import ConfigNotFound, ConfigProblems, Span
from runtime.config.reader import Kinds, read_document
from runtime.config.translate import problems_of

_S = TypeVar("_S", bound=Section)
_KINDS = Kinds(as_written=is_as_written, secret=is_secret)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, where its keys stand, and the file that it is from."""

    config: Config
    positions: Positions
    text: str
    path: Path


def load_config(path: str | os.PathLike[str], env: Mapping[str, str], *, check_code: bool = True) -> Loaded:
    """Return the configuration in the file ``path``, ``${VAR}`` replaced from ``env``.

    ``check_code`` also looks, without importing anything, whether the import paths lead somewhere.
    Raises ``ConfigNotFound`` or ``ConfigProblems``; the latter holds all problems, each with its place.
    """
    file = Path(path)
    text = _read(file)
    return parse_config(text, file, env, check_code=check_code)


def parse_config(text: str, file: Path, env: Mapping[str, str], *, check_code: bool = True) -> Loaded:
    """Return the configuration in ``text`` as if it stood in ``file``. Raises ``ConfigProblems``."""
    document = read_document(text, _shown(file), env, _KINDS)
    if not isinstance(document.data, dict):
        raise ConfigProblems(document.problems)
    folder = file.absolute().parent
    document.data.setdefault("name", _default_name(folder))
    problems = document.problems
    config: Config | None = None
    try:
        config = Config.model_validate(document.data)
        parts = Parts(config.http, config.model_id, dict(enumerate(config.deployments)))
    except ValidationError as exc:
        problems += problems_of(exc.errors(include_url=False), document)
        parts = _valid_parts(document)
    problems += check(parts, document, folder if check_code else None)
    if problems or config is None:
        raise ConfigProblems(problems)
    return Loaded(config, document.positions, text, file)


def _shown(file: Path) -> str:
    """Return the path as problems name it: from the working folder if it lies below."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_absolute() and file.is_relative_to(here) else file)


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except FileNotFoundError as exc:
        raise ConfigNotFound(f"there is no file {str(file)!r}", hint=_nearby(file)) from exc
    except IsADirectoryError as exc:
        raise ConfigNotFound(f"{str(file)!r} is a folder", hint=_nearby(file / "mux.yaml")) from exc
    except OSError as exc:
        raise ConfigNotFound(f"{str(file)!r} cannot be read: {exc.strerror}") from exc
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = raw[: exc.start].decode("utf-8", "replace")
        span = Span(before.count("\n") + 1, len(before) - before.rfind("\n"))
        document = Document(_shown(file), [])
        message = f"the byte 0x{raw[exc.start]:02x} is not UTF-8"
        raise ConfigProblems([document.problem(span, message, "save the file as UTF-8")]) from exc


def _nearby(file: Path) -> str:
    """Return which file may have been meant."""
    try:
        others = sorted(p.name for p in file.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    except OSError:
        return f"there is no folder {str(file.parent)!r} either"
    if not others:
        return "run `mux init` in an empty folder for a start"
    return f"did you mean {str(file.parent / others[0])!r}?" if len(others) == 1 else f"there are: {', '.join(others)}"


def _default_name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip("-_.")[:63] or "mux"


def _valid_parts(document: Document) -> Parts:
    """Return the sections that are right by themselves, so that they are checked although others are wrong."""
    data = document.data
    listed = data.get("deployments")
    deployments = enumerate(listed) if isinstance(listed, list) else ()
    valid = ((index, _valid(Deployment, raw)) for index, raw in deployments)
    return Parts(
        http=_valid(Http, data.get("http", {})),
        model_id=_valid(ModelIdConfig, data.get("model_id", {})),
        deployments={index: deployment for index, deployment in valid if deployment is not None},
    )


def _valid(model: type[_S], raw: Any) -> _S | None:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None
