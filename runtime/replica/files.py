"""The files of models that come from a ``source``: fetched before a load, kept on disk while the model is held."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from runtime.core.events import Key
from runtime.stores.fetched import FetchedFile, Store

WAITING_LIMIT: Final = 64  # fetched files kept for loads that have not begun; their wants may have gone
Tell = Callable[[str, float], None]  # (model id, fraction done)


class ModelFiles:
    """Holds each file from its fetch until its model is unloaded, so that the disk cache keeps it so long."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._waiting: OrderedDict[Key, FetchedFile] = OrderedDict()
        self._held: dict[Key, FetchedFile] = {}

    async def fetch(self, key: Key) -> FetchedFile:
        """Fetch the model's file and keep it for its load. Raises the store's errors."""
        file = await self._store.fetch(key.model, lambda fraction, done_bytes: self._tell(key.model, fraction))
        old = self._waiting.pop(key, None)
        if old is not None:
            old.release()
        self._waiting[key] = file
        while len(self._waiting) > WAITING_LIMIT:
            self._waiting.popitem(last=False)[1].release()
        return file

    async def hold(self, key: Key) -> FetchedFile:
        """Return the file for the load that begins now; fetched again if it was let go meanwhile."""
        if key not in self._waiting:
            await self.fetch(key)
        file = self._held[key] = self._waiting.pop(key)
        return file

    def release(self, key: Key) -> None:
        """The model is unloaded, or its load failed."""
        file = self._held.pop(key, None)
        if file is not None:
            file.release()

    def close(self) -> None:
        for file in (*self._waiting.values(), *self._held.values()):
            file.release()
        self._waiting.clear()
        self._held.clear()
        self._store.close()
