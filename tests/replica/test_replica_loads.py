"""Loads and unloads under the real brain: shared, late, cancelled, abandoned; places across routers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from runtime.core.events import Key, Preload, UnloadAsked
from runtime.link.frames import Cause, encode_head
from tests.replica.fakes import running

pytestmark = pytest.mark.anyio
App = Callable[[str], str]

GATED = """
    import asyncio, threading
    from runtime import serve

    gates, loads, cleaned = {}, [], []

    def gate(model_id):
        return gates.setdefault(model_id, asyncio.Event())

    class Loaded:
        def __init__(self, model_id):
            self.id = model_id

        def __del__(self):
            cleaned.append(self.id)

    @serve.deployment
    class Model:
        @serve.multiplexed(max_num_models_per_replica=2)
        async def get_model(self, model_id: str):
            loads.append(model_id)
            await gate(model_id).wait()
            return Loaded(model_id)

        async def __call__(self, request):
            return (await self.get_model(serve.get_multiplexed_model_id())).id
"""


async def test_one_load_serves_all_and_outlives_the_first_caller(app: App, short_dir: Path) -> None:
    name = app(GATED)
    async with running(short_dir, import_path=f"{name}:Model", load="on_call") as replica:
        module = sys.modules[name]
        answers = [replica.router.open(model="1") for _ in range(4)]
        await replica.host.until(lambda: module.loads == ["1"], 10)
        first = answers[0]
        assert first.stream is not None
        first.stream.cancel()
        await first.end()
        module.gate("1").set()
        for answer in answers[1:]:
            assert (await answer.end()).body == b"1"
        assert module.loads == ["1"]


async def test_loads_run_side_by_side(app: App, short_dir: Path) -> None:
    name = app(GATED)
    async with running(short_dir, import_path=f"{name}:Model", load="on_call") as replica:
        module = sys.modules[name]
        answers = [replica.router.open(model=model) for model in ("1", "2")]
        await replica.host.until(lambda: module.loads == ["1", "2"], 10)
        for model in ("2", "1"):
            module.gate(model).set()
        for answer in answers:
            assert (await answer.end()).status == 200


async def test_a_late_async_load_is_cancelled(app: App, short_dir: Path) -> None:
    name = app(GATED)
    config: dict[str, Any] = {"load": "on_call", "load_timeout_s": 0.05}
    async with running(short_dir, import_path=f"{name}:Model", **config) as replica:
        answer = await replica.router.open(model="1").end()
        assert (answer.status, answer.json["error"]) == (503, "load_timeout")
        assert await replica.host.until(lambda: replica.host.models.idle, 10)
        assert sys.modules[name].cleaned == []


async def test_a_late_sync_load_keeps_its_slot_until_it_returns(app: App, short_dir: Path) -> None:
    name = app("""
        import threading
        release = threading.Event()
        cleaned = []

        class Loaded:
            def __del__(self):
                cleaned.append(1)

        def load_model(model_id):
            assert release.wait(10)
            return Loaded()
    """)
    async with running(short_dir, loader=f"{name}:load_model", load_timeout_s=0.05) as replica:
        await replica.router.want("1")
        assert replica.router.failures["1"] == "load_timeout"
        assert [status.state for _, status, *_ in replica.host.residency.models()] == ["abandoned"]
        sys.modules[name].release.set()
        await replica.host.until(lambda: replica.host.models.idle and not replica.host.residency.models(), 10)
        assert sys.modules[name].cleaned == [1]


async def test_a_model_in_use_is_unloaded_only_when_its_request_has_ended(app: App, short_dir: Path) -> None:
    name = app("""
        import asyncio
        from runtime import serve

        entered, leave, cleaned = asyncio.Event(), asyncio.Event(), []

        class Loaded:
            def __del__(self):
                cleaned.append(1)

        @serve.deployment
        class Model:
            @serve.multiplexed(max_num_models_per_replica=1)
            async def get_model(self, model_id: str):
                return Loaded()

            async def __call__(self, request):
                model = await self.get_model("1")
                entered.set()
                yield "begun "
                await leave.wait()
                yield str(len(cleaned))
    """)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        module = sys.modules[name]
        answer = replica.router.open(model="")
        async with asyncio.timeout(10):
            await module.entered.wait()
        replica.host.apply(UnloadAsked(Key(0, "1")))
        assert module.cleaned == []
        module.leave.set()
        await answer.end()
        assert answer.body == b"begun 0"
        await replica.host.until(lambda: module.cleaned == [1], 10)


async def test_a_second_router_is_offered_the_place_it_was_refused(app: App, short_dir: Path) -> None:
    name = app(GATED)
    config: dict[str, Any] = {"load": "on_call", "max_ongoing_requests": 1}
    async with running(short_dir, import_path=f"{name}:Model", **config) as replica:
        module = sys.modules[name]
        other = await replica.another_router()
        running_one = replica.router.open(model="1")
        await replica.host.until(lambda: module.loads == ["1"], 10)
        refused = await other.open(model="1").end()
        assert refused.refused is not None
        assert refused.refused.why == "full"
        module.gate("1").set()
        await running_one.end()
        await other.until(lambda: [command.verb for command in other.commands] == ["place"])
        assert (await other.open(model="1").end()).body == b"1"
        other.link.close("done")


async def test_state_is_pushed_to_every_router_and_told_whole_to_a_new_one(app: App, short_dir: Path) -> None:
    name = app(GATED)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        await replica.host.until(lambda: True, 1)
        replica.host.apply(Preload(Key(0, "1"), pinned=True))
        await replica.router.until(lambda: replica.router.models.get("1") == "loading")
        sys.modules[name].gate("1").set()
        await replica.router.until(lambda: replica.router.models.get("1") == "resident")
        other = await replica.another_router()
        assert (other.models, other.snapshots) == ({"1": "resident"}, 1)
        replica.host.apply(UnloadAsked(Key(0, "1")))
        await other.until(lambda: other.models.get("1") == "absent")
        other.link.close("done")


async def test_a_batch_holds_its_model_for_each_of_its_members(app: App, short_dir: Path) -> None:
    name = app("""
        from runtime import serve

        sizes = []

        @serve.deployment
        class Model:
            @serve.multiplexed(max_num_models_per_replica=2)
            async def get_model(self, model_id: str):
                return int(model_id)

            @serve.batch(max_batch_size=3, batch_wait_timeout_s=5)
            async def run(self, items):
                model = await self.get_model(serve.get_multiplexed_model_id())
                sizes.append(len(items))
                return [model * item for item in items]

            async def __call__(self, request):
                return await self.run(int(await request.body()))
    """)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        assert (replica.host.limits.places, replica.host.limits.max_batch) == (6, 3)
        await replica.router.want("2")
        await replica.router.want("5")
        answers = [replica.router.open(model=model, body=b"%d" % n) for n in (1, 2, 3) for model in ("2", "5")]
        bodies = [int((await answer.end()).body) for answer in answers]
        assert bodies == [2, 5, 4, 10, 6, 15]
        assert sys.modules[name].sizes == [3, 3]


async def test_sync_code_can_ask_for_models_from_its_own_thread(app: App, short_dir: Path) -> None:
    name = app("""
        import asyncio
        from runtime import serve

        @serve.deployment
        class Model:
            @serve.multiplexed(max_num_models_per_replica=2)
            async def get_model(self, model_id: str):
                return f"model {model_id}"

            def __call__(self, request):
                print("in a thread")
                return asyncio.run(self.get_model(serve.get_multiplexed_model_id()))
    """)
    async with running(short_dir, import_path=f"{name}:Model") as replica:
        answer = await replica.router.request(model="7")
        assert (answer.body, answer.cache) == (b"model 7", "hit")


async def test_the_lines_of_a_load_name_the_request_that_it_is_for(app: App, short_dir: Path) -> None:
    name = app("""
        def load_model(model_id):
            return model_id

        def predict(model, request):
            return model
    """)
    config: dict[str, Any] = {"loader": f"{name}:load_model", "handler": f"{name}:predict"}
    async with running(short_dir, **config, max_num_models_per_replica=1) as replica:
        for model in ("1", "2"):
            cause = Raw(encode_head(Cause(f"request-{model}", "/shop")))
            replica.router.say("want", model, kind="cold", waiting=1, data=cause)
            await replica.router.until(lambda model=model: replica.router.models.get(model) == "resident")
            replica.router.say("release", model)
        lines = [
            (line["msg"], line["request_id"], line["route"])
            for event in ("model.loading", "model.unloading")
            for line in replica.log_lines(event)
        ]
        assert lines == [
            ("Loading model '1'.", "request-1", "/shop"),
            ("Loading model '2'.", "request-2", "/shop"),
            ("Unloading model '1'.", "request-2", "/shop"),
        ]


async def test_what_a_loader_says_belongs_to_the_request_that_asked_first(app: App, short_dir: Path) -> None:
    name = app("""
        from runtime.serve.context import request_context

        def load(model_id):
            context = request_context.get()
            return [context.request_id, context.route, context.model_id]

        def predict(model, request):
            return model
    """)
    async with running(short_dir, loader=f"{name}:load", handler=f"{name}:predict") as replica:
        replica.router.say("want", "1", kind="cold", waiting=1, data=Raw(encode_head(Cause("asked", "/shop"))))
        await replica.router.want("2")
        await replica.router.until(lambda: replica.router.models.get("1") == "resident")
        assert json.loads((await replica.router.request(model="1")).body) == ["asked", "/shop", "1"]
        assert json.loads((await replica.router.request(model="2")).body) == ["", "", "2"]


async def test_an_exception_without_words_is_answered_with_its_name(app: App, short_dir: Path) -> None:
    name = app("""
        def load(model_id):
            return model_id

        def predict(model, request):
            raise MemoryError
    """)
    async with running(short_dir, loader=f"{name}:load", handler=f"{name}:predict") as replica:
        await replica.router.want("1")
        assert json.loads((await replica.router.request(model="1")).body)["message"] == "MemoryError"
