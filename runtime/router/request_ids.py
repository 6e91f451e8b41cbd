"""Request ids: ours for requests that bring none, and the check of those that clients bring."""

from __future__ import annotations

import re
import secrets
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_RANGE: Final = len(_PAIRS) ** 2
_STEP: Final = 5_130_089  # odd and prime to 62, so that steps visit all of the range before one repeats
_VALID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch


class RequestIds:
    """Gives out ids of ten characters: a random prefix of the process and a scattered counter."""

    def __init__(self) -> None:
        self._next = secrets.randbelow(_RANGE)
        self._left = _RANGE
        self._prefix = self._new_prefix()

    def new(self) -> str:
        """Return the next id; the prefix changes after 14.8 million of them."""
        self._left -= 1
        if not self._left:
            self._left, self._prefix = _RANGE, self._new_prefix()
        self._next = number = (self._next + _STEP) % _RANGE
        high, low = divmod(number, 3844)
        return self._prefix + _PAIRS[high] + _PAIRS[low]

    @staticmethod
    def _new_prefix() -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(6))


def valid_request_id(value: bytes) -> bool:
    """Return whether a client's id is safe to log and to send back."""
    return _VALID(value) is not None
