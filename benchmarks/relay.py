"""The floor of a call through a router: ``python -m benchmarks.relay [--rounds N]``.

Three processes on uvloop, joined by two socket pairs: one sends a short message, one hands it on, one sends it back
the same way. Nobody looks at what it holds. A handle's call takes these steps too, and does its work between them.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import cast

import uvloop

from benchmarks.servers import process

HALT_POLL = Path("/sys/module/haltpoll/parameters/guest_halt_poll_ns")
MESSAGE = b"x" * 100  # about what a call's frames hold
WARM_UP = 200
DEADLINE_S = 60


class Passing(asyncio.Protocol):
    """Writes what comes to ``other``'s transport: by default back where it came from."""

    def __init__(self) -> None:
        self.other = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().stop()


class Sending(Passing):
    """Sends the next message when the last has come back, and notes how long that took."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left = rounds
        self.seconds: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.seconds.append(time.perf_counter() - self.sent)
        self.left -= 1
        if self.left:
            self.send()
        else:
            self.done.set_result(None)


async def _send(sock: socket.socket, rounds: int) -> list[float]:
    _, sending = await asyncio.get_running_loop().create_connection(lambda: Sending(rounds), sock=sock)
    async with asyncio.timeout(DEADLINE_S):
        sending.send()
        await sending.done
    sending.transport.close()
    return sending.seconds


def round_trip(rounds: int = 300) -> float:
    """Return the median in seconds of sending a message through a second process to a third and back."""
    with ExitStack() as stack:
        near, far = socket.socketpair(), socket.socketpair()
        for one in (*near, *far):
            stack.enter_context(one)
        relay, echo = (near[1].fileno(), far[0].fileno()), (far[1].fileno(),)
        for fds in (relay, echo):
            command = [sys.executable, "-m", "benchmarks.relay", "--fds", *map(str, fds)]
            stack.enter_context(process(*command, pass_fds=fds))
        seconds = uvloop.run(_send(near[0], WARM_UP + rounds))
    return median(seconds[WARM_UP:])


async def _pass(loop: asyncio.AbstractEventLoop, fds: list[int]) -> None:
    ends = [Passing() for _ in fds]
    for end, other in zip(ends, reversed(ends), strict=True):
        end.other = other
    for end, fd in reversed([*zip(ends, fds, strict=True)]):  # the far one first: nothing comes before it is there
        await loop.create_connection(lambda end=end: end, sock=socket.socket(fileno=fd))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--fds", type=int, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fds is None:
        print(f"{round_trip(options.rounds) * 1e6:.0f} µs")
        if HALT_POLL.exists() and HALT_POLL.read_text().strip() == "0":
            print(f"{HALT_POLL} is 0: idle processors of this virtual machine halt at once, and waking them takes long")
        return
    loop = uvloop.new_event_loop()
    loop.run_until_complete(_pass(loop, options.fds))
    loop.run_forever()


if __name__ == "__main__":
    main()
