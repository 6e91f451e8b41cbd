"""The control channel between the supervisor and a child: a JSON object a line over an inherited socket pair.

A child opens its end with ``ControlChannel.open(fd)``; the supervisor's end is ``ChildChannel``.
``watch_parent`` ends a child whose supervisor has gone, however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import ClassVar, Final, Generic, Self, TypeVar, cast

import msgspec

from runtime.errors import ProtocolError
from runtime.link.control import FromChild, ToChild

LINE_LIMIT_BYTES: Final = 64 * 1024 * 1024
PR_SET_PDEATHSIG: Final = 1

Sent = TypeVar("Sent")
Received = TypeVar("Received")


class Channel(asyncio.Protocol, Generic[Sent, Received]):
    """One end of a control channel. Iteration yields the peer's messages and ends when the peer has closed.

    A malformed or endless line makes the iteration raise ``ProtocolError``.
    """

    decoder: ClassVar[msgspec.json.Decoder[object]]

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()  # the start of a line whose end has not come yet
        self._inbox: asyncio.Queue[Received | ProtocolError | None] = asyncio.Queue()  # None: no more will come
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, end: int | socket.socket) -> Self:
        """Return the channel over a connected stream socket, or its inherited number; takes ownership."""
        sock = socket.socket(fileno=end) if isinstance(end, int) else end
        sock.set_inheritable(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(cls, sock=sock)
        return channel

    @property
    def alive(self) -> bool:
        return not self._lost.is_set()

    def send(self, message: Sent) -> None:
        """Send one message, buffered, without blocking. To a peer that has gone it is dropped."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._encoder.encode(message) + b"\n")

    async def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until all that was sent is with the kernel, or the peer has gone. Raises TimeoutError."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.set_write_buffer_limits(high=0)
        if self._transport.get_write_buffer_size():
            self._writable.clear()
            async with asyncio.timeout(timeout_s):
                await self._writable.wait()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Flush and close; what a peer does not read within ``timeout_s`` is dropped."""
        with contextlib.suppress(TimeoutError):
            await self.flush(timeout_s)
        self.abandon()
        async with asyncio.timeout(timeout_s):
            await self._lost.wait()

    def abandon(self) -> None:
        """Close at once, without a last flush."""
        if self._transport is not None:
            self._transport.abort()

    def __aiter__(self) -> AsyncIterator[Received]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Received]:
        while (message := await self._inbox.get()) is not None:
            if isinstance(message, ProtocolError):
                raise message
            yield message

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if b"\n" not in data:
            self._partial += data
            if len(self._partial) > LINE_LIMIT_BYTES:
                self._break(f"a control line exceeds {LINE_LIMIT_BYTES} bytes")
            return
        *lines, rest = (bytes(self._partial) + data).split(b"\n")
        self._partial = bytearray(rest)
        for line in lines:
            try:
                message = self.decoder.decode(line)
            except msgspec.DecodeError as exc:
                self._break(f"a control line could not be read: {exc}")
                return
            self._inbox.put_nowait(message)  # type: ignore[arg-type]

    def _break(self, why: str) -> None:
        self._inbox.put_nowait(ProtocolError(why))
        self.abandon()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self._lost.set()
        self._inbox.put_nowait(None)


class ControlChannel(Channel[FromChild, ToChild]):
    """The child's end."""

    decoder = msgspec.json.Decoder(ToChild)


class ChildChannel(Channel[ToChild, FromChild]):
    """The supervisor's end."""

    decoder = msgspec.json.Decoder(FromChild)


def watch_parent(
    liveness_fd: int,
    on_gone: Callable[[], None] | None = None,
    *,
    parent_pid: int = 0,
    grace_s: float = 5.0,
) -> threading.Thread:
    """End this process when its supervisor has gone. Returns the watching thread.

    The supervisor holds the writing end of the pipe ``liveness_fd`` and never writes: EOF means that it has
    gone. Then ``on_gone`` is called in the thread (default: SIGTERM to this process), and after ``grace_s``
    seconds the whole process group is killed. A thread, because an event loop may be blocked by user code.
    ``parent_pid``, where not 0, is the supervisor's: a different parent means that it died before this call.
    """
    os.set_inheritable(liveness_fd, False)
    _signal_on_parent_death(signal.SIGTERM)
    orphaned = parent_pid != 0 and os.getppid() != parent_pid

    def watch() -> None:
        if not orphaned:
            _wait_for_eof(liveness_fd)
        (on_gone or _terminate_self)()
        time.sleep(grace_s)
        _kill_own_group()

    thread = threading.Thread(target=watch, name="watch-parent", daemon=True)
    thread.start()
    return thread


def _wait_for_eof(fd: int) -> None:
    while True:
        try:
            if not os.read(fd, 64):
                return
        except OSError:  # the descriptor was closed under us: nobody watches any more
            return


def _terminate_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _kill_own_group() -> None:
    if os.getpgrp() == os.getpid():  # spawned into a group of its own: take what user code started along
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _signal_on_parent_death(number: int) -> None:
    """Have the kernel send ``number`` when the spawning thread ends (Linux; elsewhere the pipe alone)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
