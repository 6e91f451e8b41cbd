"""Large arguments of handle calls: in place on the caller's memory, as body where that cannot be."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.link.frames import CallHead, MemoryHead
from runtime.link.memory import HAS_SEGMENTS, UNREACHABLE, Memory
from runtime.serve.codec import encode
from tests.replica.fakes import running

pytest.importorskip("numpy")
pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not HAS_SEGMENTS, reason="needs memfd_create")]
App = Callable[[str], str]

# the fake router sends every call back to the replica that made it
APP = """
    import asyncio
    import numpy as np
    from runtime import serve
    from runtime.serve.handle import DeploymentHandle

    kept, waiting = [], asyncio.Event()

    @serve.deployment
    class Model:
        def __init__(self):
            self.me = DeploymentHandle("Other")

        async def __call__(self, request):
            path = request.url.path
            if path == "/sum":
                return [int(await self.me.sum.remote(np.full(200_000, n))) for n in range(5)]
            if path == "/keep":
                for n in range(4):
                    await self.me.keep.remote(np.full(200_000, n), [bytes(300_000)])
                return [int(array[0]) for array in kept] + [int(array[-1]) for array in kept]
            if path == "/text":
                return len(await self.me.same.remote("x" * 1_000_000))
            if path == "/items":
                return [n async for n in self.me.options(stream=True).items.remote(np.zeros(300_000))]
            if path == "/hang":
                return await self.me.hang.remote(np.zeros(300_000))

        async def sum(self, array):
            array[0] += 0
            return array.sum() / 200_000

        async def keep(self, array, more):
            assert more == [bytes(300_000)]
            kept.append(array)

        async def same(self, text):
            return text

        async def items(self, array):
            for n in range(3):
                yield n + int(array.sum())

        async def hang(self, array):
            waiting.set()
            await asyncio.Event().wait()
"""


def memory_of(replica: object) -> Memory:
    [link] = replica.host.links.values()  # type: ignore[attr-defined]
    assert link.memory is not None
    return link.memory  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "expected", "segments"),
    [
        ("/sum", [0, 1, 2, 3, 4], 1),
        ("/keep", [0, 1, 2, 3, 0, 1, 2, 3], 4),
        ("/text", 1_000_000, 1),
        ("/items", [0, 1, 2], 1),
    ],
)
async def test_arguments_lie_on_shared_memory(
    app: App, short_dir: Path, path: str, expected: object, segments: int
) -> None:
    async with running(short_dir, import_path=f"{app(APP)}:Model") as replica:
        answer = await replica.router.request(path)
        assert (answer.status, answer.json) == (200, expected)
        assert all(call.memory is not None for call in replica.router.calls)
        memory = memory_of(replica)
        assert 1 <= len(memory.segments) <= segments
        assert not any(segment.lent for segment in memory.segments)


@pytest.mark.parametrize("path", ["/sum", "/text", "/items"])
async def test_a_receiver_that_cannot_reach_it_gets_a_body(app: App, short_dir: Path, path: str) -> None:
    async with running(short_dir, import_path=f"{app(APP)}:Model") as replica:
        replica.router.on_call = _elsewhere
        answer = await replica.router.request(path)
        assert answer.status == 200, answer.body
        assert [call.memory is None for call in replica.router.calls][:2] == [False, True]
        assert sum(call.memory is not None for call in replica.router.calls) == 1
        assert memory_of(replica).unreachable == {"Other"}


def _elsewhere(head: CallHead) -> None:
    if head.memory is not None:
        head.memory = MemoryHead(head.memory.process, 10**6, head.memory.size, head.memory.mark)


async def test_a_call_that_is_given_up_gives_its_memory_back(app: App, short_dir: Path) -> None:
    name = app(APP)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        answer = replica.router.open("/hang")
        async with asyncio.timeout(10):
            await sys.modules[name].waiting.wait()
        assert any(segment.lent for segment in memory_of(replica).segments)
        assert answer.stream is not None
        answer.stream.cancel()
        await answer.end()
        assert await replica.host.until(lambda: not replica.host.works, 10)
        assert not any(segment.lent for segment in memory_of(replica).segments)


async def test_a_reference_that_leads_nowhere_is_refused_before_user_code_begins(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(APP)}:Model") as replica:
        value = encode(((b"x" * 100_000,), {}))
        nowhere = MemoryHead(1, 10**6, 2**20, bytes(16))
        head = CallHead("Model", "same", "", "c1", "/", [], 0, False, len(value.payload), [], b"", nowhere)
        answer = await replica.router.call(head)
        assert answer.refused is not None
        assert answer.refused.why == UNREACHABLE
        assert answer.terminals == 1
