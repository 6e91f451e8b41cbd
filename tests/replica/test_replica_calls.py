"""Deployment handles' calls: out of a replica through its router, and into one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import NoReplicas
from runtime.link.endpoint import listen
from runtime.link.frames import MAGIC, VERSION, CallHead, Hello
from runtime.replica.calls import LinkCalls
from runtime.replica.router_link import RouterLink
from runtime.serve.calls import OnlyCalls
from runtime.serve.codec import encode
from runtime.serve.handle import DeploymentHandle
from tests.replica.fakes import running
from tests.serve.fakes import until

pytestmark = pytest.mark.anyio
App = Callable[[str], str]

# the fake router sends every call back to the replica that made it
CALLS = """
    import asyncio
    import numpy as np
    from runtime import serve
    from runtime.serve.handle import DeploymentHandle

    waiting, cancelled = asyncio.Event(), asyncio.Event()

    class Custom(Exception):
        pass

    @serve.deployment
    class Model:
        def __init__(self):
            self.me = DeploymentHandle("Other")

        @serve.multiplexed(max_num_models_per_replica=2)
        async def get_model(self, model_id: str):
            return f"model {model_id}"

        async def __call__(self, request):
            path = request.url.path
            if path == "/double":
                array = np.arange(300_000)
                out = await self.me.double.remote(array)
                return bool((out == array * 2).all())
            if path == "/model":
                return await self.me.options(multiplexed_model_id="x").which.remote()
            if path == "/fail":
                try:
                    await self.me.fail.remote()
                except Custom as exc:
                    return [str(exc), "in fail" in str(exc.__cause__)]
            if path == "/items":
                handle = self.me.options(stream=True)
                return [len(item) async for item in handle.items.remote(40)]
            if path == "/hang":
                return await self.me.hang.remote()
            if path == "/private":
                return await self.me._secret.remote()

        def double(self, array):
            return array * 2

        async def which(self):
            return [await self.get_model(serve.get_multiplexed_model_id()), serve.get_multiplexed_model_id()]

        def fail(self):
            raise Custom("from afar")

        async def items(self, count):
            for number in range(count):
                yield bytes(30_000)

        async def hang(self):
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/double", True),
        ("/fail", ["from afar", True]),
        ("/items", [30_000] * 40),
    ],
)
async def test_calls_go_out_and_come_back(app: App, short_dir: Path, path: str, expected: object) -> None:
    async with running(short_dir, import_path=f"{app(CALLS)}:Model") as replica:
        answer = await replica.router.request(path)
        assert (answer.status, answer.json) == (200, expected)


async def test_a_process_that_a_replica_has_forked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    transport = LinkCalls(list, loop, None)  # type: ignore[arg-type]
    assert transport.loop is loop
    monkeypatch.setattr("os.getpid", lambda: 1)
    with pytest.raises(RuntimeError, match="that a replica has forked"):
        DeploymentHandle("Other", transport=transport).remote()


async def test_a_call_names_its_own_model(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(CALLS)}:Model") as replica:
        await replica.router.want("x")
        answer = await replica.router.request("/model")
        assert answer.json == ["model x", "x"]
        assert [head.deployment for head in replica.router.calls] == ["Other"]
        assert replica.router.calls[0].chain == ["Model"]


async def test_a_client_that_leaves_cancels_the_whole_chain(app: App, short_dir: Path) -> None:
    name = app(CALLS)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        answer = replica.router.open("/hang")
        module = sys.modules[name]
        async with asyncio.timeout(10):
            await module.waiting.wait()
            assert answer.stream is not None
            answer.stream.cancel()
            await module.cancelled.wait()
        await answer.end()
        assert answer.aborted is not None
        assert answer.aborted.code == "client_gone"


def _head(method: str, *args: object, streaming: bool = False) -> CallHead:
    value = encode((args, {}))
    return CallHead("Model", method, "", "c1", "/", [], 0, streaming, len(value.payload), value.lengths, value.inline)


@pytest.mark.parametrize("method", ["nothing", "_secret", "__init__"])
async def test_a_method_that_is_not_there_is_an_error(app: App, short_dir: Path, method: str) -> None:
    async with running(short_dir, import_path=f"{app(CALLS)}:Model") as replica:
        answer = await replica.router.call(_head(method))
        assert answer.results[0].kind == "error"
        assert b"no method" in answer.results[0].payload
        assert b"AttributeError" in answer.results[0].payload
        assert "no method" in replica.messages("request.failed")[0]


async def test_a_generator_called_without_stream_says_so(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(CALLS)}:Model") as replica:
        answer = await replica.router.call(_head("items", 3))
        assert answer.results[0].kind == "error"
        assert b"stream=True" in answer.results[0].payload
        plain = await replica.router.call(_head("double", 4, streaming=True))
        assert b"not a generator" in plain.results[0].payload
        good = await replica.router.call(_head("double", 4))
        assert (good.results[0].kind, good.terminals) == ("value", 1)
        lines = replica.messages("request.finished")
        assert lines[-1].startswith("double OK")


async def test_a_call_before_any_router_has_come_waits_for_one_on_a_link_of_its_own(short_dir: Path) -> None:
    address = f"unix:{short_dir}/calls.sock"
    own = RouterLink(address, "secret", "Model#EjYmnQ")
    first = asyncio.ensure_future(own.link())
    hello = Hello(MAGIC, VERSION, "router", "router-0")
    server = await listen(address, lambda: hello, OnlyCalls(), token="secret")
    link = await first
    assert await own.link() is link
    link.close("lost")
    await until(lambda: not link.alive)
    again = await own.link()
    assert again.alive
    assert again is not link
    own.close()
    await until(lambda: not again.alive)
    server.close()
    server.close_links("the end")
    await until(lambda: not server.links)


async def test_without_a_router_a_call_fails_after_a_while(short_dir: Path) -> None:
    for address in ("", f"unix:{short_dir}/nobody.sock"):
        own = RouterLink(address, "secret", "Model#EjYmnQ", patience_s=0.0)
        with pytest.raises(NoReplicas, match="no router is connected"):
            await own.link()
        own.close()
