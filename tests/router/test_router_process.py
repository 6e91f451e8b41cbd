"""The real process: spawned as the supervisor spawns it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runtime.link.channel import ChildChannel
from runtime.link.control import Answer, Applied, ChildSpec, Drain, Ping, Pong, Query, Ready, RouteEntry, Table
from tests.router.fakes import DEADLINE_S, Client, FakeReplica, Work

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_the_process_serves_answers_the_supervisor_and_drains(short_dir: Path) -> None:
    async def hello(work: Work) -> None:
        work.respond(b"hello")

    replica = FakeReplica(f"unix:{short_dir}/r.sock", script=hello)
    await replica.start()
    public = socket.socket()
    public.bind(("127.0.0.1", 0))
    public.listen(16)
    ours, theirs = socket.socketpair()
    alive, held = os.pipe()
    spec = ChildSpec(
        role="router", name="router-0", project="t", config_dir=str(short_dir), log_dir=str(short_dir / "log"),
        control_fd=theirs.fileno(), liveness_fd=alive, listen_fds=[public.fileno()], parent_pid=os.getpid(),
    )  # fmt: skip
    path = short_dir / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-P", "-m", "runtime.router", "--spec", str(path)]
    fds = (theirs.fileno(), alive, public.fileno())
    child = subprocess.Popen(command, pass_fds=fds, start_new_session=True)  # noqa: ASYNC220 - as the engine does
    channel = await ChildChannel.open(ours)
    words = aiter(channel)
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert isinstance(await anext(words), Ready)
            route = RouteEntry(name="Model", deployment={"name": "Model", "loader": "a:b"})
            channel.send(Table(generation=7, routes=[route], replicas=[replica.entry]))
            assert await anext(words) == Applied(generation=7)
            client = Client(*await asyncio.open_connection(*public.getsockname()))
            assert (await client.ask("POST", "/", {}, b"x")).body == b"hello"
            channel.send(Ping(seq=3))
            assert await anext(words) == Pong(seq=3)
            channel.send(Query(id=1, what="status"))
            answer = await anext(words)
            assert isinstance(answer, Answer)
            assert answer.data["requests"] == 1
            channel.send(Query(id=2, what="nonsense"))
            answer = await anext(words)
            assert isinstance(answer, Answer)
            assert not answer.ok
            channel.send(Drain(deadline_s=5))
            assert await client.closed() == b""
            await client.close()
            assert await asyncio.to_thread(child.wait, DEADLINE_S) == 0
    finally:
        child.kill()
        child.wait()
        await channel.close()
        await replica.stop()
        public.close()
        theirs.close()
        os.close(alive)
        os.close(held)
    assert list((short_dir / "log").iterdir())


def test_a_router_asks_for_more_open_files_than_a_shell_gives() -> None:
    story = """if True:
        import resource
        from runtime.router.main import raise_open_files

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
        raise_open_files()
        print(*resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    told = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert told.stdout.split() == ["4096", "4096"]
