"""Whole answers to clients, written one after the other instead of each between two others' making."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runtime.router.guard import GuardedProtocol

GATHERED: Final = 32  # a client should not wait for the answers to many others


class Writes:
    """Gathers answers until the loop comes round or there are many.

    A system call leaves little of our code in the processor's nearest caches. So many of them in a row cost that once,
    and are quicker themselves.
    """

    __slots__ = ("_answers", "_scheduled")

    def __init__(self) -> None:
        self._answers: list[tuple[GuardedProtocol, bytes]] = []
        self._scheduled = False

    def put(self, protocol: GuardedProtocol, answer: bytes) -> None:
        """Have a connection's answer written soon. Whatever else is written or closed there, ``flush`` goes first."""
        protocol.unwritten = True
        self._answers.append((protocol, answer))
        if len(self._answers) >= GATHERED:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._come_round)

    def flush(self) -> None:
        answers, self._answers = self._answers, []
        for protocol, answer in answers:
            protocol.unwritten = False
            if not protocol.transport.is_closing():
                protocol.transport.write(answer)

    def _come_round(self) -> None:
        self._scheduled = False
        self.flush()
