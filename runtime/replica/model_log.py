"""What the log says of models: each line with the request for whose sake it happened."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Final

from runtime.core.events import Key
from runtime.link.frames import Cause, decode_head
from runtime.observe.logs import LogWriter
from runtime.serve.context import RequestContext

_REMEMBERED: Final = 1024  # requests noted for models that are not here; wants that are taken back never load
_NIL: Final = b"\xc0"


class ModelLog:
    """Writes events about models, and remembers who asked first for each that is not here yet."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._askers: OrderedDict[Key, RequestContext] = OrderedDict()

    def wanted(self, key: Key, cause: bytes) -> None:
        """Note which request made a router want the model (``Cause``, encoded)."""
        if cause != _NIL:
            request = decode_head(Cause, cause)
            self.asked(key, RequestContext(request_id=request.request_id, route=request.route, model_id=key.model))

    def asked(self, key: Key, request: RequestContext) -> None:
        """Note which request asked, if none did before."""
        if key not in self._askers:
            self._askers[key] = request
            if len(self._askers) > _REMEMBERED:
                self._askers.popitem(last=False)

    def asker(self, key: Key) -> RequestContext:
        """Return which request asked first; one without an id where none is known."""
        return self._askers.get(key) or RequestContext("")

    def forget(self, key: Key) -> None:
        self._askers.pop(key, None)

    def write(
        self,
        key: Key,
        message: str,
        event: str,
        level: str = "INFO",
        *,
        file: str = "",
        line: int = 0,
        asked_for: Key | None = None,
        **fields: object,
    ) -> None:
        """Write one event about ``key``, in the name of who asked for it, or for ``asked_for``.

        ``file`` and ``line`` are a place in user code; without them they are the caller's.
        """
        asker = self.asker(asked_for or key)
        caller = sys._getframe(1)
        self._writer.event(
            message,
            level=level,
            event=event,
            model=key.model,
            request_id=asker.request_id,
            route=asker.route,
            file=file or caller.f_code.co_filename.rpartition("/")[2],
            line=line or caller.f_lineno,
            **fields,
        )
