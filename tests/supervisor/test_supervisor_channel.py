"""The control channel, both ends, and the watch on the parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from runtime.errors import ProtocolError
from runtime.link.channel import ChildChannel, ControlChannel
from runtime.link.control import Answer, Ping, Pong, Ready

pytestmark = pytest.mark.anyio


async def pair() -> tuple[ChildChannel, ControlChannel]:
    ours, theirs = socket.socketpair()
    return await ChildChannel.open(ours), await ControlChannel.open(theirs.detach())


async def test_messages_go_both_ways_and_closing_ends_the_iteration() -> None:
    supervisor, child = await pair()
    supervisor.send(Ping(seq=1))
    supervisor.send(Ping(seq=2, health=True))
    await supervisor.close()
    assert [message async for message in child] == [Ping(seq=1), Ping(seq=2, health=True)]
    assert not supervisor.alive
    child.send(Ready())  # nobody is there any more: it is dropped
    await child.close()


async def test_a_message_larger_than_the_socket_buffer_arrives_whole() -> None:
    supervisor, child = await pair()
    big = Answer(id=1, data="x" * 5_000_000)
    child.send(big)
    child.send(Pong(seq=3))
    received = aiter(supervisor)
    assert await anext(received) == big
    assert await anext(received) == Pong(seq=3)
    await child.close()
    await supervisor.close()


async def test_a_line_that_is_no_message_is_a_protocol_error() -> None:
    ours, theirs = socket.socketpair()
    channel = await ChildChannel.open(ours)
    with theirs:
        theirs.sendall(b'{"type":"pong","seq":1}\n{"type":"dance"}\n')
        received = aiter(channel)
        assert await anext(received) == Pong(seq=1)
        with pytest.raises(ProtocolError, match="could not be read"):
            await anext(received)
    await channel.close()


WATCHED = textwrap.dedent(
    """
    import signal, sys, time
    from runtime.link.channel import watch_parent
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch_parent(int(sys.argv[1]), parent_pid=int(sys.argv[2]), grace_s=0.1)
    print("watching", flush=True)
    time.sleep(60)
    """
)


@pytest.mark.parametrize(("arguments", "code"), [([], -15), (["deaf"], -9)])
def test_a_process_ends_when_its_parent_lets_go_of_the_pipe(arguments: list[str], code: int) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", WATCHED, str(reader), str(os.getpid()), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(reader,), start_new_session=True) as process:
        os.close(reader)
        assert process.stdout is not None
        assert process.stdout.readline() == b"watching\n"
        os.close(writer)
        assert process.wait(timeout=10) == code


def test_a_process_whose_parent_died_before_it_looked_ends() -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", WATCHED, str(reader), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(reader,), start_new_session=True) as it:
        assert it.wait(timeout=10) == -15
    os.close(reader)
    os.close(writer)
