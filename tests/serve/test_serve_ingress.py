"""``@serve.ingress`` with FastAPI routes on the class, plain FastAPI and Starlette apps, builders, bare ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, File, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from runtime import serve
from runtime.serve.context import set_replica_context
from runtime.serve.ingress import asgi_app
from tests.serve.fakes import FakeReplica


class Item(BaseModel):
    n: int


def offset(q: int = 1) -> int:
    return q


def service() -> type[Any]:
    app = FastAPI()
    router = APIRouter(prefix="/sub")

    class Base:
        start = 5

        @app.get("/inherited")
        def inherited(self) -> int:
            return self.start

    @serve.ingress(app)
    class Service(Base):
        @app.get("/items/{key}")
        def item(self, key: int, q: int = Depends(offset)) -> dict[str, int]:
            return {"key": key, "start": self.start, "q": q}

        @app.post("/add", tags=["sums"], status_code=201)
        async def add(self, item: Item) -> Item:
            return Item(n=item.n + self.start)

        @app.get("/stream")
        async def stream(self) -> AsyncIterator[Item]:
            for n in range(2):
                yield Item(n=n + self.start)

        @app.get("/events")
        async def events(self) -> StreamingResponse:
            async def lines() -> AsyncIterator[str]:
                yield f"data: {self.start}\n\n"

            return StreamingResponse(lines(), media_type="text/event-stream")

        @app.post("/upload")
        async def upload(self, file: Annotated[UploadFile, File()]) -> int:
            return len(await file.read()) + self.start

        @app.websocket("/ws")
        async def socket(self, ws: WebSocket) -> None:
            await ws.accept()
            await ws.send_text(f"{await ws.receive_text()} {self.start}")
            await ws.close()

        @router.get("/included")
        async def included(self) -> int:
            return self.start

        def plain(self) -> str:
            return "callable as ever"

    app.include_router(router)
    return Service


@pytest.fixture
def serving() -> Iterator[Callable[[type[Any]], TestClient]]:
    """Be the replica of a class; gives a client of its app."""
    clients: list[TestClient] = []

    def start(cls: type[Any]) -> TestClient:
        instance = cls()
        set_replica_context(FakeReplica(cls, servable=instance))
        app = asgi_app(instance)
        assert app is not None
        client = TestClient(app)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()
    set_replica_context(None)


class TestFastApiRoutesOnTheClass:
    def test_self_is_the_instance_beside_paths_and_dependencies(self, serving: Any) -> None:
        client = serving(service())
        assert client.get("/items/3?q=7").json() == {"key": 3, "start": 5, "q": 7}
        assert client.get("/items/x").status_code == 422
        answer = client.post("/add", json={"n": 2})
        assert (answer.status_code, answer.json()) == (201, {"n": 7})

    def test_inherited_and_included_routes(self, serving: Any) -> None:
        client = serving(service())
        assert client.get("/inherited").json() == 5
        assert client.get("/sub/included").json() == 5

    def test_streams_events_uploads_and_websockets(self, serving: Any) -> None:
        client = serving(service())
        assert client.get("/stream").text.split() == ['{"n":5}', '{"n":6}']
        assert client.get("/events").text == "data: 5\n\n"
        assert client.post("/upload", files={"file": b"abc"}).json() == 8
        with client.websocket_connect("/ws") as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "hello 5"

    def test_the_openapi_page_does_not_know_self(self, serving: Any) -> None:
        client = serving(service())
        paths = client.get("/openapi.json").json()["paths"]
        assert [p["name"] for p in paths["/items/{key}"]["get"]["parameters"]] == ["key", "q"]
        assert "parameters" not in paths["/add"]["post"]
        assert paths["/add"]["post"]["tags"] == ["sums"]
        assert client.get("/docs").status_code == 200

    def test_methods_stay_methods(self) -> None:
        assert service()().plain() == "callable as ever"
        assert service()().inherited() == 5


class TestOtherApps:
    def test_a_starlette_app(self, serving: Any) -> None:
        async def home(request: Request) -> JSONResponse:
            return JSONResponse(serve.get_replica_context().servable_object.greeting)  # type: ignore[attr-defined]

        @serve.ingress(Starlette(routes=[Route("/", home)]))
        class Service:
            greeting = "hello"

        assert serving(Service).get("/").json() == "hello"

    def test_a_builder_runs_once_and_late(self, serving: Any) -> None:
        built: list[FastAPI] = []

        def build() -> FastAPI:
            app = FastAPI()

            @app.get("/")
            def home() -> str:
                return "built"

            built.append(app)
            return app

        cls = serve.ingress(build)()
        assert built == []
        client = serving(cls)
        assert client.get("/").json() == client.get("/").json() == "built"
        assert asgi_app(cls) is built[0]
        assert len(built) == 1
        assert cls(1, a=2).kwargs == {"a": 2}

    def test_a_bare_asgi_function(self, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await JSONResponse(scope["path"])(scope, receive, send)

        @serve.ingress(app)
        class Service: ...

        assert serving(Service).get("/x").json() == "/x"

    def test_a_class_without_ingress_has_no_app(self) -> None:
        assert asgi_app(object()) is None


class TestRefused:
    @pytest.mark.parametrize("app", [None, 3, FastAPI])
    def test_what_is_no_app(self, app: Any) -> None:
        with pytest.raises(TypeError, match="an ASGI app"):
            serve.ingress(app)

    def test_a_class_that_answers_itself(self) -> None:
        with pytest.raises(ValueError, match="__call__"):

            @serve.ingress(FastAPI())
            class Both:
                def __call__(self) -> None: ...

    def test_a_function(self) -> None:
        with pytest.raises(ValueError, match="decorates a class"):
            serve.ingress(FastAPI())(len)  # type: ignore[call-overload]

    def test_the_wrong_order_of_decorators(self) -> None:
        @serve.deployment
        class Service: ...

        with pytest.raises(TypeError, match=r"above @serve\.ingress"):
            serve.ingress(FastAPI())(Service)  # type: ignore[call-overload]
