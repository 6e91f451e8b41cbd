"""What every store gives, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[float, int], None]
"""Called on the event loop with the fraction done (0 to 1) and the bytes done."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A model's file, or folder, on this machine.

    It stays there until ``release()``, which may be called more than once. ``warning`` is a sentence for the
    log where the file could not be checked against its source.
    """

    path: Path
    size_bytes: int
    from_cache: bool
    release: Callable[[], None]
    warning: str = ""


class Store(Protocol):
    """A place that holds one file or folder for each model id."""

    async def fetch(self, model_id: str, progress: Progress) -> FetchedFile:
        """Return the model's file.

        Raises ``BadModelId`` for an id that is no relative path, ``ObjectNotFound`` if the store has no such
        model and ``StoreError`` if it could not be read.
        """

    def close(self) -> None:
        """Stop what is being fetched and end the threads; blocks until they ended."""
