"""The loader style end to end: requests over a real link, the real brain, user code in threads and on the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import StartError
from tests.replica.fakes import running

pytestmark = pytest.mark.anyio
App = Callable[[str], str]

PLAIN = """
    loaded, cleaned = [], []

    class Scale:
        size_bytes = 128

        def __init__(self, model_id):
            self.id = model_id
            loaded.append(model_id)

        def __call__(self, inputs):
            return [x * int(self.id) for x in inputs]

        def __del__(self):
            cleaned.append(self.id)

    def load_model(model_id):
        if model_id == "0":
            raise ValueError("zero is no model")
        return Scale(model_id)
"""


async def test_answers_with_the_model_that_the_request_names(app: App, short_dir: Path) -> None:
    async with running(short_dir, loader=f"{app(PLAIN)}:load_model") as replica:
        answer = await replica.router.request(model="3", body=b'{"inputs": [1, 2]}')
        assert (answer.status, answer.json) == (200, {"outputs": [3, 6]})
        assert answer.headers["content-type"] == "application/json"
        assert (answer.cache, answer.frames, answer.admitted) == ("hit", 1, False)
        assert replica.messages("model.loading") == ["Loading model '3'."]
        assert replica.messages("request.started") == ["Started executing request r1"]
        assert replica.messages("request.finished")[0].startswith("__CALL__ OK ")
        assert replica.log_lines("model.loaded")[0]["size_bytes"] == 128


async def test_evicts_the_least_recently_used_and_cleans_up_once(app: App, short_dir: Path) -> None:
    name = app(PLAIN)
    async with running(short_dir, loader=f"{name}:load_model", max_num_models_per_replica=2) as replica:
        for model in ("1", "2", "3"):
            await replica.router.request(model=model, body=b'{"inputs": [1]}')
        module = sys.modules[name]
        assert module.cleaned == ["1"]
        assert replica.messages("model.unloading") == ["Unloading model '1'."]
    assert sorted(module.cleaned) == ["1", "2", "3"]


async def test_a_failing_loader_is_published_and_its_traceback_logged(app: App, short_dir: Path) -> None:
    async with running(short_dir, loader=f"{app(PLAIN)}:load_model") as replica:
        answer = await replica.router.request(model="0", body=b"{}")
        assert answer.refused is not None
        assert answer.refused.why == "failed"
        assert answer.refused.failure is not None
        assert answer.refused.failure.message == "ValueError: zero is no model"
        text = replica.messages("model.load_failed")[0]
        assert text.startswith("Loading model '0' failed:\nTraceback")
        assert text.splitlines()[2].strip().startswith(f'File "{short_dir}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request has no body"),
        (b"{", "the body is not JSON"),
        (b'{"input": 1}', "the JSON body has no field 'inputs'"),
        (b"[1]", "the JSON body has no field 'inputs'"),
    ],
)
async def test_a_bad_body_is_answered_400_with_a_hint(app: App, short_dir: Path, body: bytes, message: str) -> None:
    async with running(short_dir, loader=f"{app(PLAIN)}:load_model") as replica:
        answer = await replica.router.request(model="1", body=body)
        assert answer.status == 400
        assert answer.json["message"].startswith(message)
        assert "inputs" in answer.json["hint"]


async def test_a_request_without_a_model_is_answered_400(app: App, short_dir: Path) -> None:
    async with running(short_dir, loader=f"{app(PLAIN)}:load_model") as replica:
        answer = await replica.router.request(body=b'{"inputs": [1]}')
        assert answer.status == 400
        assert "serve_multiplexed_model_id" in answer.json["hint"]


HANDLERS = """
    from pathlib import Path
    from pydantic import BaseModel
    from starlette.requests import Request

    async def load_model(model_id):
        return model_id

    def with_inputs(model, inputs):
        return {"model": model, "inputs": inputs}

    async def with_request(model, request):
        return f"{model} {request.method} {(await request.body()).decode()}"

    async def annotated(model, anything: "Request"):
        return anything.url.path

    def with_body(model, body):
        return body

    class Point(BaseModel):
        x: int

    def with_model(model, point: Point):
        return point

    def fails(model, inputs):
        raise KeyError("what")

    def too_many(model, a, b):
        return 1

    def with_path(model_id, path):
        return Path(path).read_text()
"""


@pytest.mark.parametrize(
    ("handler", "body", "expected"),
    [
        ("with_inputs", b'{"inputs": 5}', b'{"model":"m","inputs":5}'),
        ("with_request", b"hello", b"m POST hello"),
        ("annotated", b"", b"/a"),
        ("with_body", b'{"k": [1]}', b'{"k":[1]}'),
        ("with_model", b'{"x": 4}', b'{"x":4}'),
    ],
)
async def test_the_handler_says_what_it_takes(
    app: App, short_dir: Path, handler: str, body: bytes, expected: bytes
) -> None:
    name = app(HANDLERS)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:{handler}") as replica:
        answer = await replica.router.request("/a", model="m", body=body)
        assert (answer.status, answer.body) == (200, expected)


async def test_a_body_that_does_not_validate_is_answered_400(app: App, short_dir: Path) -> None:
    name = app(HANDLERS)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:with_model") as replica:
        answer = await replica.router.request(model="m", body=b'{"x": "no"}')
        assert answer.status == 400
        assert "not a Point" in answer.json["message"]


async def test_an_exception_is_answered_500_without_a_traceback(app: App, short_dir: Path) -> None:
    name = app(HANDLERS)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:fails") as replica:
        answer = await replica.router.request(model="m", body=b'{"inputs": 1}')
        assert answer.status == 500
        assert answer.json["message"] == "KeyError: 'what'"
        assert b"Traceback" not in answer.body
        assert replica.messages("request.failed")[0].splitlines()[1].strip().startswith(f'File "{short_dir}')
        assert replica.messages("request.finished")[0].startswith("__CALL__ ERROR")


async def test_a_local_source_gives_the_loader_a_path(app: App, short_dir: Path) -> None:
    name = app(HANDLERS)
    (short_dir / "weights").mkdir()
    (short_dir / "weights" / "a.txt").write_text("weights of a")
    config: dict[str, Any] = {"loader": f"{name}:with_path", "handler": f"{name}:with_inputs"}
    async with running(short_dir, **config, source="./weights/{model_id}.txt") as replica:
        answer = await replica.router.request(model="a", body=b'{"inputs": 1}')
        assert answer.json["model"] == "weights of a"
        missing = await replica.router.request(model="b", body=b'{"inputs": 1}')
        assert missing.refused is not None
        assert missing.refused.failure is not None
        assert missing.refused.failure.code == "model_not_found"
        assert replica.messages("model.loading") == ["Loading model 'a'."]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"loader": "with_path"}, "takes 2 arguments, but without a source"),
        ({"loader": "load_model", "source": "./{model_id}"}, "with a source"),
        ({"loader": "load_model", "handler": "too_many"}, "must take (model, request)"),
        ({"loader": "nothing"}, "has no attribute 'nothing'"),
        ({"loader": "load_modle"}, "has no attribute 'load_modle'"),
    ],
)
async def test_code_that_does_not_fit_the_config_is_refused(
    app: App, short_dir: Path, config: dict[str, str], message: str
) -> None:
    name = app(HANDLERS)
    paths = {key: value if key == "source" else f"{name}:{value}" for key, value in config.items()}
    with pytest.raises(StartError, match=message.replace("(", r"\(").replace(")", r"\)")):
        async with running(short_dir, **paths):
            pass


SLOW = """
    import threading, time

    started, release = threading.Event(), threading.Event()

    def load_model(model_id):
        return model_id

    def predict(model, inputs):
        started.set()
        assert release.wait(10)
        return "late"
"""


async def test_a_cancelled_sync_handler_keeps_its_place_until_its_thread_returns(app: App, short_dir: Path) -> None:
    name = app(SLOW)
    config: dict[str, Any] = {"loader": f"{name}:load_model", "handler": f"{name}:predict", "max_ongoing_requests": 1}
    async with running(short_dir, **config) as replica:
        await replica.router.want("1")
        module = sys.modules[name]
        first = replica.router.open(model="1", body=b'{"inputs": 1}')
        await asyncio.to_thread(module.started.wait, 10)
        assert first.stream is not None
        first.stream.cancel()
        second = await replica.router.open(model="1", body=b'{"inputs": 1}').end()
        assert second.refused is not None
        assert second.refused.why == "full"
        assert not first.ended
        module.release.set()
        await first.end()
        assert first.aborted is not None
        assert (first.aborted.code, first.aborted.status, first.terminals) == ("client_gone", 499, 1)
        await replica.router.until(lambda: [c.verb for c in replica.router.commands] == ["place"])
        replica.router.say("pass")


async def test_a_deadline_is_kept_without_the_router(app: App, short_dir: Path) -> None:
    name = app("""
        import asyncio

        async def load_model(model_id):
            return model_id

        async def predict(model, request):
            await asyncio.Event().wait()
    """)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:predict") as replica:
        answer = await replica.router.request(model="1", time_left_ms=30)
        assert answer.aborted is not None
        assert (answer.aborted.code, answer.aborted.status) == ("request_timeout", 408)


async def test_an_unloader_is_called_once_and_may_fail_alone(app: App, short_dir: Path) -> None:
    name = app("""
        gone = []

        def load_model(model_id):
            return lambda inputs: model_id

        async def unload(model, model_id):
            gone.append(model_id)
            if model_id == "1":
                raise RuntimeError("cannot let go")
    """)
    config: dict[str, Any] = {"loader": f"{name}:load_model", "unloader": f"{name}:unload"}
    async with running(short_dir, **config, max_num_models_per_replica=1) as replica:
        await replica.router.request(model="1", body=b'{"inputs": 1}')
        answer = await replica.router.request(model="2", body=b'{"inputs": 1}')
        assert answer.json == {"outputs": "2"}
        module = sys.modules[name]
        assert module.gone == ["1"]
        assert "cannot let go" in replica.messages("model.unload_failed")[0]
    assert module.gone == ["1", "2"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_unloader_may_take_the_model_alone(app: App, short_dir: Path, is_async: bool) -> None:
    name = app(f"""
        gone = []

        def load_model(model_id):
            return lambda inputs: model_id

        {"async " if is_async else ""}def unload(model):
            gone.append(model(0))
    """)
    config: dict[str, Any] = {"loader": f"{name}:load_model", "unloader": f"{name}:unload"}
    async with running(short_dir, **config) as replica:
        await replica.router.request(model="1", body=b'{"inputs": 1}')
    assert sys.modules[name].gone == ["1"]


async def test_an_unloader_of_three_arguments_is_refused_at_the_start(app: App, short_dir: Path) -> None:
    name = app("""
        def load_model(model_id):
            return model_id

        def unload(model, model_id, why):
            pass
    """)
    with pytest.raises(StartError, match="unload must take"):
        async with running(short_dir, loader=f"{name}:load_model", unloader=f"{name}:unload"):
            pass


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("BaseException('odd')", "BaseException: odd"),
        ("KeyboardInterrupt()", "KeyboardInterrupt"),
        ("GeneratorExit()", "GeneratorExit"),
        ("asyncio.CancelledError()", "user code cancelled itself"),
        ("Mute()", "Mute: <exception str() failed>"),
    ],
)
async def test_whatever_a_loader_raises_its_load_has_failed(
    app: App, short_dir: Path, raised: str, said: str, is_async: bool
) -> None:
    name = app(f"""
        import asyncio

        class Mute(Exception):
            def __str__(self):
                return None

        {"async " if is_async else ""}def load_model(model_id):
            raise {raised}
    """)
    async with running(short_dir, loader=f"{name}:load_model") as replica:
        await replica.router.want("1")
        assert replica.router.models["1"] == "failed"
        assert replica.router.failures["1"] == "model_load_failed"
        assert said in replica.messages("model.load_failed")[0] or said.startswith("user code")
        assert replica.host.residency.models() == []


@pytest.mark.parametrize("raised", ["BaseException('odd')", "KeyboardInterrupt()", "asyncio.CancelledError()"])
async def test_whatever_an_unloader_raises_its_model_is_gone(app: App, short_dir: Path, raised: str) -> None:
    name = app(f"""
        import asyncio

        def load_model(model_id):
            return lambda inputs: model_id

        async def unload(model):
            raise {raised}
    """)
    config: dict[str, Any] = {"loader": f"{name}:load_model", "unloader": f"{name}:unload"}
    async with running(short_dir, **config, max_num_models_per_replica=1) as replica:
        for model in ("1", "2"):
            assert (await replica.router.request(model=model, body=b'{"inputs": 1}')).json == {"outputs": model}
        assert "its cleanup failed" in replica.messages("model.unload_failed")[0]


@pytest.mark.parametrize("raised", ["BaseException('odd')", "KeyboardInterrupt()"])
async def test_whatever_a_handler_raises_is_answered_and_logged(app: App, short_dir: Path, raised: str) -> None:
    name = app(f"""
        def load_model(model_id):
            return model_id

        async def predict(model, request):
            raise {raised}
    """)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:predict") as replica:
        answer = await replica.router.request(model="1", request_id="odd-1")
        assert (answer.status, answer.json["error"]) == (500, "user_code_failed")
        assert answer.json["message"].startswith(raised.partition("(")[0])
        assert [record["request_id"] for record in replica.log_lines("request.failed")] == ["odd-1"]


async def test_a_lost_link_cancels_its_requests(app: App, short_dir: Path) -> None:
    name = app("""
        import asyncio
        entered, cancelled = asyncio.Event(), asyncio.Event()

        async def load_model(model_id):
            return model_id

        async def predict(model, request):
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
    """)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:predict") as replica:
        other = await replica.another_router()
        await other.want("1")
        answer = other.open(model="1")
        module = sys.modules[name]
        async with asyncio.timeout(10):
            await module.entered.wait()
            other.link.close("the router died")
            await module.cancelled.wait()
        await answer.end()
        assert await replica.host.until(lambda: not replica.host.works, 10)


@pytest.mark.torch
async def test_a_torch_module_is_called_with_a_tensor(app: App, short_dir: Path) -> None:
    name = app("""
        import torch

        def load_model(model_id):
            layer = torch.nn.Linear(3, 1, bias=False)
            with torch.no_grad():
                layer.weight.fill_(float(model_id))
            return layer
    """)
    async with running(short_dir, loader=f"{name}:load_model") as replica:
        answer = await replica.router.request(model="2", body=b'{"inputs": [[1, 2, 3]]}')
        assert answer.json == {"outputs": [[12.0]]}
        ragged = await replica.router.request(model="2", body=b'{"inputs": [[1, 2], [3]]}')
        assert ragged.status == 400
        assert replica.log_lines("model.loaded")[0]["size_bytes"] == 12


async def test_a_loader_says_that_there_is_no_such_model(app: App, short_dir: Path) -> None:
    name = app("""
        def load_model(model_id):
            if model_id == "file":
                open("/nonexistent/weights")
            if model_id == "bug":
                {}["key"]
            if model_id == "table":
                return {"1": "one"}[model_id]
            raise LookupError("never heard of it")
    """)
    async with running(short_dir, loader=f"{name}:load_model") as replica:
        for model in ("any", "file", "table", "bug"):
            await replica.router.want(model)
        missing, failed = "model_not_found", "model_load_failed"
        assert replica.router.failures == {"any": missing, "file": missing, "table": missing, "bug": failed}
        line = replica.log_lines("model.load_failed")[0]
        assert (line["file"], line["line"]) == (f"{name}.py", 9)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"inputs": "given"}'])
async def test_a_handlers_default_stands_in_for_missing_inputs(app: App, short_dir: Path, body: bytes) -> None:
    name = app("""
        def load_model(model_id):
            return model_id

        def predict(model, inputs="default"):
            return inputs
    """)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:predict") as replica:
        answer = await replica.router.request(model="1", body=body)
        assert answer.body == (b"given" if b"given" in body else b"default")


@pytest.mark.parametrize(("default", "status"), [("", 400), (" = None", 200)])
async def test_a_request_without_a_model_is_answered_by_a_handler_that_takes_none(
    app: App, short_dir: Path, default: str, status: int
) -> None:
    name = app(f"""
        def load_model(model_id):
            return model_id

        def predict(model{default}, request=None):
            return [model]
    """)
    async with running(short_dir, loader=f"{name}:load_model", handler=f"{name}:predict") as replica:
        answer = await replica.router.request()
        assert answer.status == status
        assert b"names no model" in answer.body if status == 400 else answer.body == b"[null]"
