"""A configuration as it may be shown: environment values, tokens and keys are left out."""

from __future__ import annotations

import re
from typing import Any

from runtime.config.keys import is_secret
from runtime.config.models import Config

HIDDEN = "***"
_SECRET_WORD = re.compile(r"token|secret|passw|api_?key|credential|private_?key|authorization", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def redacted(config: Config) -> dict[str, Any]:
    """Return the configuration as plain values, ready for YAML or JSON, with every secret as ``***``.

    Secret are the keys marked so, all values under ``env``, whatever stands in ``user_config`` under a name such
    as ``password`` or ``api_key``, and the user part of an address.
    """
    shown: dict[str, Any] = _redacted(config.model_dump(mode="json"), ())
    return shown


def _redacted(value: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, (*path, index)) for index, inner in enumerate(value)]
    if value is not None and (is_secret(path) or is_named_secret(path)):
        return HIDDEN
    return _USER_INFO.sub(HIDDEN, value) if isinstance(value, str) else value


def is_named_secret(path: tuple[str | int, ...]) -> bool:
    """Tell whether the value at ``path``, in some ``user_config``, lies under a name that speaks of a secret."""
    if len(path) < 4 or path[2] != "user_config":
        return False
    return any(isinstance(part, str) and _SECRET_WORD.search(part) for part in path[3:])
