"""Models that lie on this machine: their own paths, never copied."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.errors import ObjectNotFound, StoreError
from runtime.stores.fetched import FetchedFile, Progress
from runtime.stores.fetching import FetchThreads, Ticket
from runtime.stores.source import LocalSource

_THREADS: Final = 4


class LocalStore:
    """A folder of models. Looks at the disk in a thread: it may be a slow network mount."""

    def __init__(self, source: LocalSource) -> None:
        self._source = source
        self._threads = FetchThreads(_THREADS, "mux-local-store")

    async def fetch(self, model_id: str, progress: Progress) -> FetchedFile:
        """Return the path itself. Raises as ``Store.fetch`` does."""
        path = self._source.path(model_id)

        def look(ticket: Ticket) -> FetchedFile:
            size_bytes = self._size(path)
            ticket.progress(size_bytes, size_bytes)
            return FetchedFile(path, size_bytes, from_cache=False, release=_nothing)

        return await self._threads.run(look, progress)

    def close(self) -> None:
        """End the threads."""
        self._threads.stop()
        self._threads.join()

    def _size(self, path: Path) -> int:
        try:
            if self._source.is_folder:
                if not path.is_dir():
                    raise ObjectNotFound(f"there is no folder {path}")
                return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            size_bytes = path.stat().st_size
            if path.is_dir():
                raise StoreError(f"{path} is a folder", hint="End the source with '/' if each model is a folder.")
            return size_bytes
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectNotFound(f"there is no file {path}") from None
        except OSError as exc:
            raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc


def _nothing() -> None:
    """Release nothing: the file is the user's own and no cache deletes it."""
