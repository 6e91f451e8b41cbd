"""The class style end to end: deployments, multiplexed loaders, return values, streams, ASGI applications."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import StartError
from runtime.link.frames import Close, encode_head
from runtime.replica.responses import to_json
from tests.replica.fakes import Replica, running

pytestmark = pytest.mark.anyio
App = Callable[[str], str]

MULTIPLEXED = """
    import asyncio
    from runtime import serve

    cleaned = []

    class Loaded:
        def __init__(self, model_id):
            self.id = model_id

        async def __del__(self):
            cleaned.append(self.id)

    class Torn(LookupError):
        def __init__(self, model_id):
            super().__init__(f"{model_id} is torn")

    @serve.deployment
    class Model:
        def __init__(self):
            self.loads = 0

        @serve.multiplexed(max_num_models_per_replica=2)
        async def get_model(self, model_id: str):
            assert serve.get_multiplexed_model_id() == model_id
            self.loads += 1
            if model_id == "bad":
                raise LookupError("no weights")
            if model_id == "torn":
                raise Torn(model_id)
            return Loaded(model_id)

        async def __call__(self, request):
            model_id = serve.get_multiplexed_model_id()
            try:
                model = await self.get_model(model_id or "default")
            except LookupError as exc:
                return f"sorry: {exc}"
            return {"model": model.id, "loads": self.loads}

    entry = Model.bind()
"""


@pytest.mark.parametrize("target", ["entry", "Model"])
async def test_a_multiplexed_class_ports_as_it_is(app: App, short_dir: Path, target: str) -> None:
    name = app(MULTIPLEXED)
    async with running(short_dir, import_path=f"{name}:{target}") as replica:
        for _ in range(2):
            answer = await replica.router.request(model="a")
            assert (answer.json, answer.cache) == ({"model": "a", "loads": 1}, "hit")
        assert replica.host.limits.slots == (2,)
        without = await replica.router.request()
        assert (without.json["model"], without.cache) == ("default", "load")
    assert sorted(sys.modules[name].cleaned) == ["a", "default"]


async def test_user_code_sees_what_its_loader_raised(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(MULTIPLEXED)}:entry") as replica:
        answer = await replica.router.request(model="bad")
        assert answer.body == b"sorry: no weights"
        answer = await replica.router.request(model="torn")
        assert answer.body == b"sorry: torn is torn"


async def test_a_load_on_call_tells_which_request_caused_it(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(MULTIPLEXED)}:entry", load="on_call") as replica:
        answer = await replica.router.open(model="x", request_id="q9").end()
        assert (answer.json["model"], answer.cache) == ("x", "load")
        line = replica.log_lines("model.loading")[0]
        assert (line["request_id"], line["route"], line["file"]) == ("q9", "/", "multiplex.py")


async def test_two_loaders_have_a_cache_each(app: App, short_dir: Path) -> None:
    name = app("""
        from runtime import serve

        @serve.deployment
        class Two:
            @serve.multiplexed(max_num_models_per_replica=1)
            async def first(self, model_id: str):
                return f"first {model_id}"

            @serve.multiplexed(max_num_models_per_replica=2)
            async def second(self, model_id: str):
                return f"second {model_id}"

            async def __call__(self, request):
                return [await self.first("m"), await self.second("m"), await self.second("n")]
    """)
    config: dict[str, Any] = {"max_num_models_per_replica": {"first": 3}}
    async with running(short_dir, import_path=f"{name}:Two", **config) as replica:
        answer = await replica.router.request()
        assert answer.json == ["first m", "second m", "second n"]
        assert replica.host.limits.slots == (3, 2)


VALUES = """
    import asyncio, dataclasses
    import numpy as np
    from pydantic import BaseModel
    from starlette.background import BackgroundTask
    from starlette.exceptions import HTTPException
    from starlette.responses import FileResponse, JSONResponse, StreamingResponse
    from runtime import serve
    from runtime.errors import ModelNotFound

    class Point(BaseModel):
        x: int

    @dataclasses.dataclass
    class Data:
        y: int

    background = asyncio.Event()

    async def slow_count():
        for i in range(3):
            yield f"{i} "

    def fails_late():
        yield "begun"
        raise RuntimeError("midway")

    def fails_early():
        raise RuntimeError("at once")
        yield

    async def finish():
        background.set()

    def refuse():
        raise HTTPException(418, "teapot", headers={"X-Kind": "pot"})

    def missing():
        raise ModelNotFound("no model x")

    def exits():
        raise SystemExit(3)

    values = {
        "/str": lambda: "text",
        "/bytes": lambda: b"raw",
        "/none": lambda: None,
        "/dict": lambda: {"a": [1, None, 2.5]},
        "/tuple": lambda: (1, 2),
        "/array": lambda: np.arange(4).reshape(2, 2),
        "/nested": lambda: {"a": np.float32(1.5), "b": [np.ones(2)]},
        "/pydantic": lambda: Point(x=1),
        "/points": lambda: [Point(x=1)],
        "/dataclass": lambda: Data(y=2),
        "/response": lambda: JSONResponse({"made": 1}, status_code=201, headers={"x-own": "yes"}),
        "/background": lambda: JSONResponse({}, background=BackgroundTask(finish)),
        "/stream": lambda: StreamingResponse(slow_count(), media_type="text/event-stream"),
        "/generator": lambda: (f"{i}," for i in range(3)),
        "/objects": lambda: ({"i": i} for i in range(2)),
        "/async_generator": slow_count,
        "/fails_late": fails_late,
        "/fails_early": fails_early,
        "/file": lambda: FileResponse(__file__),
        "/big": lambda: b"x" * 1_000_000,
        "/object": lambda: object(),
        "/http_error": refuse,
        "/missing": missing,
        "/exits": exits,
    }

    @serve.deployment
    def values_of(request):
        return values[request.url.path]()
"""


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("/str", 200, "text/plain; charset=utf-8", b"text"),
        ("/bytes", 200, "application/octet-stream", b"raw"),
        ("/none", 200, "application/json", b"null"),
        ("/dict", 200, "application/json", b'{"a":[1,null,2.5]}'),
        ("/tuple", 200, "application/json", b"[1,2]"),
        ("/array", 200, "application/json", b"[[0,1],[2,3]]"),
        ("/nested", 200, "application/json", b'{"a":1.5,"b":[[1.0,1.0]]}'),
        ("/pydantic", 200, "application/json", b'{"x":1}'),
        ("/points", 200, "application/json", b'[{"x":1}]'),
        ("/dataclass", 200, "application/json", b'{"y":2}'),
        ("/response", 201, "application/json", b'{"made":1}'),
        ("/background", 200, "application/json", b"{}"),
        ("/stream", 200, "text/event-stream; charset=utf-8", b"0 1 2 "),
        ("/generator", 200, "text/plain; charset=utf-8", b"0,1,2,"),
        ("/objects", 200, "text/plain; charset=utf-8", b'{"i":0}\n{"i":1}\n'),
        ("/async_generator", 200, "text/plain; charset=utf-8", b"0 1 2 "),
        ("/big", 200, "application/octet-stream", b"x" * 1_000_000),
        ("/fails_early", 500, "application/json", None),
        ("/object", 500, "application/json", None),
        ("/http_error", 418, "application/json", None),
        ("/missing", 404, "application/json", None),
        ("/exits", 500, "application/json", None),
    ],
)
async def test_return_values_become_responses(
    app: App, short_dir: Path, path: str, status: int, content_type: str, body: bytes | None
) -> None:
    async with running(short_dir, import_path=f"{app(VALUES)}:values_of") as replica:
        answer = await replica.router.request(path)
        assert (answer.status, answer.headers["content-type"]) == (status, content_type)
        if body is not None:
            assert answer.body == body
        else:
            assert answer.json["request_id"] == "r1"
        assert answer.terminals == 1


async def test_files_are_sent_and_background_tasks_run(app: App, short_dir: Path) -> None:
    name = app(VALUES)
    async with running(short_dir, import_path=f"{name}:values_of") as replica:
        answer = await replica.router.request("/file")
        assert answer.body == (short_dir / f"{name}.py").read_bytes()
        # the file is closed after its last bytes have gone out: a replica that stops before has it cancelled
        assert await replica.host.until(lambda: not replica.host.works, 10)
        await replica.router.request("/background")
        async with asyncio.timeout(10):
            await sys.modules[name].background.wait()


async def test_an_error_after_a_part_of_the_answer_aborts(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(VALUES)}:values_of") as replica:
        answer = await replica.router.request("/fails_late")
        assert (answer.status, answer.body) == (200, b"begun")
        assert answer.aborted is not None
        assert (answer.aborted.code, answer.terminals) == ("user_code_failed", 1)


async def test_a_reader_that_stops_holds_the_stream_up(app: App, short_dir: Path) -> None:
    name = app("""
        from starlette.responses import StreamingResponse
        from runtime import serve

        made = []

        async def chunks():
            for number in range(64):
                made.append(number)
                yield bytes(64 * 1024)

        @serve.deployment
        async def flood(request):
            return StreamingResponse(chunks())
    """)
    async with running(short_dir, import_path=f"{name}:flood") as replica:
        answer = replica.router.open(hold_credit=True)
        await answer.until(lambda a: len(a.body) >= 256 * 1024)
        assert len(sys.modules[name].made) <= 7
        assert answer.stream is not None
        answer.hold_credit = False
        answer.stream.consumed(len(answer.body))
        await answer.end()
        assert len(answer.body) == 64 * 64 * 1024


UPLOAD = """
    from runtime import serve

    @serve.deployment
    class Upload:
        async def __call__(self, request):
            if request.url.path == "/stream":
                return sum([len(part) async for part in request.stream()])
            return len(await request.body())
"""


async def _send(replica: Replica, path: str, parts: int, size: int) -> Any:
    answer = replica.router.open(path, body=b"first", more=True)
    stream = answer.stream
    assert stream is not None
    for number in range(parts):
        if answer.ended:
            break
        try:
            await stream.send_body(bytes(size), end=number == parts - 1)
        except Exception:
            assert answer.ended
    return await answer.end()


async def test_bodies_are_streamed_and_bounded_in_memory(app: App, short_dir: Path) -> None:
    config: dict[str, Any] = {"max_buffered_body_bytes": 500_000}
    async with running(short_dir, import_path=f"{app(UPLOAD)}:Upload", **config) as replica:
        assert (await _send(replica, "/stream", 20, 50_000)).json == 1_000_005
        assert (await _send(replica, "/body", 2, 50_000)).json == 100_005
        refused = await _send(replica, "/body", 20, 50_000)
        assert refused.status == 413
        assert refused.json["error"] == "body_too_large"


FASTAPI = """
    import asyncio
    from contextlib import asynccontextmanager
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect
    from runtime import serve

    life = []
    cancelled = asyncio.Event()

    @asynccontextmanager
    async def lifespan(app):
        life.append("up")
        yield {"shared": 5}
        life.append("down")

    api = FastAPI(lifespan=lifespan)

    @serve.deployment
    @serve.ingress(api)
    class Api:
        def __init__(self):
            self.greeting = "hello"

        @api.get("/greet/{name}")
        async def greet(self, name: str):
            return {"text": f"{self.greeting} {name}"}

        @api.post("/echo")
        def echo(self, item: dict):
            return item

        @api.websocket("/ws")
        async def talk(self, websocket: WebSocket):
            await websocket.accept(subprotocol="chat")
            async for text in websocket.iter_text():
                await websocket.send_text(text.upper())

        @api.websocket("/deaf")
        async def be_deaf(self, websocket: WebSocket):
            await websocket.accept()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        @api.websocket("/busy")
        async def be_busy(self, websocket: WebSocket):
            await websocket.accept()
            try:
                await websocket.receive_text()
            except WebSocketDisconnect as gone:
                await cancelled.wait()
                self.greeting = f"gone {gone.code}"

        @api.get("/raise/{what}")
        async def let_out(self, what: str):
            if what == "missing":
                raise serve.exceptions.ModelNotFound("no model x")
            if what == "store":
                raise serve.exceptions.DeploymentUnavailableError("no credentials")
            raise ValueError("boom")

        @api.websocket("/raise")
        async def let_out_of_a_socket(self, websocket: WebSocket):
            await websocket.accept()
            raise serve.exceptions.ModelNotFound("no model x")

        @api.websocket("/refuse")
        async def refuse(self, websocket: WebSocket):
            await websocket.close(code=4000)
"""


async def test_a_fastapi_ingress_answers(app: App, short_dir: Path) -> None:
    name = app(FASTAPI)
    async with running(short_dir, import_path=f"{name}:Api") as replica:
        assert sys.modules[name].life == ["up"]
        answer = await replica.router.request("/greet/ada", method="GET")
        assert (answer.status, answer.json) == (200, {"text": "hello ada"})
        echoed = await replica.router.request(
            "/echo", body=b'{"a": 1}', headers=[(b"content-type", b"application/json")]
        )
        assert echoed.json == {"a": 1}
        assert (await replica.router.request("/nowhere")).status == 404
    assert sys.modules[name].life == ["up", "down"]


async def test_a_fastapi_ingress_answers_our_errors_as_a_plain_class_does(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(FASTAPI)}:Api") as replica:
        missing = await replica.router.request("/raise/missing", method="GET", request_id="r-404")
        assert (missing.status, missing.json["error"], missing.json["request_id"]) == (404, "model_not_found", "r-404")
        assert replica.log_lines("request.failed") == []
        store = await replica.router.request("/raise/store", method="GET", request_id="r-503")
        assert (store.status, store.json["message"]) == (503, "no credentials")
        own = await replica.router.request("/raise/own", method="GET", request_id="r-500")
        assert (own.status, own.body) == (500, b"Internal Server Error")
        socket = replica.router.open("/raise", method="GET", scheme="ws", more=True, request_id="r-ws")
        await socket.end()
        assert socket.closed is not None
        assert socket.closed.code == 1011
        failed = replica.log_lines("request.failed")
        assert [record["request_id"] for record in failed] == ["r-503", "r-500", "r-ws"]
        assert failed[2]["msg"] == "ModelNotFound: no model x"
        ended = {record["request_id"]: record["msg"].split()[1] for record in replica.log_lines("request.finished")}
        assert ended == {"r-404": "OK", "r-503": "ERROR", "r-500": "ERROR", "r-ws": "ERROR"}


async def test_an_application_answers_our_errors_itself_if_it_wants_to(app: App, short_dir: Path) -> None:
    name = app("""
        from fastapi import FastAPI
        from fastapi.responses import JSONResponse
        from runtime import serve

        api = FastAPI()

        @api.exception_handler(Exception)
        async def everything(request, exc):
            return JSONResponse({"mine": str(exc)}, 418)

        @serve.deployment
        @serve.ingress(api)
        class Api:
            @api.get("/")
            async def let_out(self):
                raise serve.exceptions.ModelNotFound("no model x")
    """)
    async with running(short_dir, import_path=f"{name}:Api") as replica:
        answer = await replica.router.request("/", method="GET", request_id="r1")
        assert (answer.status, answer.json) == (418, {"mine": "no model x"})
        assert [record["msg"] for record in replica.log_lines("request.failed")] == ["ModelNotFound: no model x"]


async def test_a_websocket_talks_both_ways_and_closes_once(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(FASTAPI)}:Api") as replica:
        answer = replica.router.open("/ws", method="GET", scheme="ws", more=True)
        await answer.until(lambda a: a.status)
        assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "chat")
        assert answer.stream is not None
        await answer.stream.send_message(b"abc", True)
        await answer.stream.send_message(b"x" * 200_000, True)
        await answer.until(lambda a: len(a.messages) >= 5)
        assert "".join(str(part) for part in answer.messages) == "ABC" + "X" * 200_000
        answer.stream.close_message(encode_head(Close(1000, "bye")))
        await answer.end()
        assert answer.closed == Close(1000, "")
        assert answer.terminals == 1


async def test_a_websocket_that_does_not_notice_its_clients_end_is_cancelled(
    app: App, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.replica.request.UNHEARD_S", 0.05)
    async with running(short_dir, import_path=f"{app(FASTAPI)}:Api") as replica:
        deaf = replica.router.open("/deaf", method="GET", scheme="ws", more=True)
        busy = replica.router.open("/busy", method="GET", scheme="ws", more=True)
        for answer in (busy, deaf):  # whose time is up in this order, and whose end comes in the other
            await answer.until(lambda a: a.status)
            assert answer.stream is not None
            answer.stream.close_message(encode_head(Close(1005)))
        await deaf.end()
        await busy.end()
        assert deaf.aborted is not None
        assert deaf.aborted.code == "client_gone"
        assert busy.closed == Close(1000, "")  # it had noticed, and was left to end by itself
        answer = await replica.router.request("/greet/you", method="GET")
        assert answer.json == {"text": "gone 1005 you"}


async def test_a_websocket_can_be_refused(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(FASTAPI)}:Api") as replica:
        answer = await replica.router.open("/refuse", method="GET", scheme="ws", more=True).end()
        assert (answer.status, answer.terminals) == (403, 1)


async def test_a_websocket_to_a_plain_deployment_is_refused(app: App, short_dir: Path) -> None:
    async with running(short_dir, import_path=f"{app(UPLOAD)}:Upload") as replica:
        answer = await replica.router.open(scheme="ws", more=True).end()
        assert answer.status == 400


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("class Plain: pass", "Plain", "is the class Plain, not a deployment"),
        ("x = 5", "x", "is an object of type int, not a deployment"),
        ("def build(): ...", "build", "is the function build, not a deployment"),
    ],
)
async def test_what_is_no_deployment_is_refused(
    app: App, short_dir: Path, source: str, target: str, message: str
) -> None:
    name = app(source)
    with pytest.raises(StartError, match=message):
        async with running(short_dir, import_path=f"{name}:{target}"):
            pass


async def test_async_init_and_the_instances_own_end(app: App, short_dir: Path) -> None:
    name = app("""
        from runtime import serve

        ended = []

        @serve.deployment
        class Model:
            async def __init__(self, word):
                self.word = word

            def __del__(self):
                ended.append(self.word)

            def __call__(self):
                return self.word

        entry = Model.bind("bound")
    """)
    async with running(short_dir, import_path=f"{name}:entry") as replica:
        assert (await replica.router.request()).body == b"bound"
    assert sys.modules[name].ended == ["bound"]


@pytest.mark.parametrize("key", [None, (1, 2)])
def test_a_key_that_json_cannot_have_is_named(key: object) -> None:
    with pytest.raises(TypeError, match="a dict with the key"):
        to_json({1: 2, key: 3})
