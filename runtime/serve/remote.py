"""Handles outside replicas: a script's or notebook's own link to the router of a deployed project.

The router listens on a Unix socket of the project; the token is in a file that only its owner can read.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import threading
import weakref
from typing import Final

from runtime.errors import LinkLost, NotRunning
from runtime.link.connection import Link
from runtime.link.endpoint import connect
from runtime.link.frames import MAGIC, VERSION, Hello
from runtime.project import Project
from runtime.serve.calls import OnlyCalls
from runtime.serve.loop_thread import LoopThread
from runtime.serve.transport import LinkTransport

CONNECT_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 2.0


class RemoteTransport(LinkTransport):
    """Calls from outside: one thread with an event loop, one link, made when it is needed and again when lost.

    A forked process has neither of its parent's: it makes its own, and leaves the parent's alone.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._inherited: list[object] = []  # kept: their end is the parent's
        self._lock = threading.Lock()
        self._begin()
        _all.add(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        self._thread = LoopThread("mux-handles")
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._process = os.getpid()  # last: other threads look at it first

    def forked(self) -> None:
        """Take new locks in a child process: a thread that is not there may have held the old ones."""
        self._lock = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Raises ``NotRunning`` once it was closed."""
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    self._inherited += (self._thread, self._link)
                    self._begin()
        if not self._thread.is_running:
            raise NotRunning(f"this handle of {self.project.name} is closed: the project was taken down here")
        return self._thread.loop

    def link_now(self, deployment: str) -> Link | None:
        link = self._link
        return link if link is not None and link.alive else None

    async def link(self, deployment: str) -> Link:
        async with self._connecting:
            if self._link is None or not self._link.alive:
                self._link = await self._connect()
            return self._link

    def close(self) -> None:
        """Close the link and end the thread. Calls that are open fail. Idempotent."""
        atexit.unregister(self.close)
        if self._thread.is_running and self._process == os.getpid():
            self._thread.run(self._disconnect(), CLOSE_TIMEOUT_S)
            self._thread.close(CLOSE_TIMEOUT_S)

    @property
    def is_open(self) -> bool:
        return self._thread.is_running

    async def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close("the script is done")

    async def _connect(self) -> Link:
        """Connect to the first router that answers. Raises ``NotRunning``."""
        sockets = sorted(self.project.sockets.glob("calls-*.sock"))
        why = "it has no socket for handles"
        for socket in sockets:
            try:
                hello = Hello(MAGIC, VERSION, "handle", f"script-{secrets.token_hex(4)}", self._token())
                return await connect(f"unix:{socket}", hello, OnlyCalls(), timeout_s=CONNECT_TIMEOUT_S)
            except (LinkLost, OSError) as exc:
                why = str(exc)
        raise NotRunning(f"{self.project.name} does not answer: {why}", hint="start it with `mux deploy`")

    def _token(self) -> str:
        return (self.project.root / "calls.token").read_text().strip()


_all: weakref.WeakSet[RemoteTransport] = weakref.WeakSet()
_transports: dict[str, RemoteTransport] = {}
_transports_lock = threading.Lock()


def transport_to(project: Project) -> RemoteTransport:
    """Return this process's transport to a project, made at the first call."""
    with _transports_lock:
        transport = _transports.get(str(project.root))
        if transport is None or not transport.is_open:
            transport = _transports[str(project.root)] = RemoteTransport(project)
        return transport


def _forked() -> None:
    global _transports_lock
    _transports_lock = threading.Lock()
    for transport in _all:
        transport.forked()


os.register_at_fork(after_in_child=_forked)


def close_transports() -> None:
    """Close every transport of this process."""
    with _transports_lock:
        for transport in _transports.values():
            transport.close()
        _transports.clear()
