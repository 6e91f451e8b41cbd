"""FastAPI and Starlette behind a route prefix, through the router: dependencies, docs, uploads, events, websockets."""

from __future__ import annotations

import hashlib
import http.client
import socket
from collections.abc import Iterator

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.e2e.conftest import Cli
from tests.e2e.deployed import deployed, project, until

pytestmark = pytest.mark.process

YAML = """
deployments:
  - {name: Shop, import_path: "app:app", route_prefix: /shop}
  - {name: Built, import_path: "app:built", route_prefix: /built, application: second}
"""
MODEL = {"serve_multiplexed_model_id": "a"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with deployed(project("web", YAML, tmp_path_factory.mktemp("web"))) as cli:
        yield cli


@pytest.fixture(scope="module")
def url(web: Cli) -> str:
    return web.url()


def test_path_parameters_dependencies_state_and_self(url: str) -> None:
    answers = [requests.get(f"{url}/shop/items/{n}?q=x", headers=MODEL, timeout=30).json() for n in (1, 2)]
    assert answers[0]["item"] == 1
    assert [each["visits"] for each in answers] == [1, 2]
    assert {each["model"] for each in answers} == {"A"}
    assert (answers[0]["q"], answers[0]["opened"], answers[0]["root_path"]) == ("x", "yes", "/shop")
    assert requests.get(f"{url}/shop/items/one", headers=MODEL, timeout=30).status_code == 422
    assert requests.get(f"{url}/shop/nowhere", headers=MODEL, timeout=30).json() == {"detail": "Not Found"}


def test_the_docs_page_finds_its_schema_below_the_prefix(url: str) -> None:
    page = requests.get(f"{url}/shop/docs", timeout=30)
    assert page.status_code == 200
    assert "'/shop/openapi.json'" in page.text
    schema = requests.get(f"{url}/shop/openapi.json", timeout=30).json()
    assert schema["servers"] == [{"url": "/shop"}]
    parameters = schema["paths"]["/items/{item}"]["get"]["parameters"]
    assert [each["name"] for each in parameters] == ["item", "q"]


def test_a_multipart_upload_of_many_megabytes(url: str) -> None:
    data = bytes(range(256)) * (5 * 4096)
    answer = requests.post(
        f"{url}/shop/upload", files={"file": ("f.bin", data)}, data={"title": "t"}, headers=MODEL, timeout=60
    )
    assert answer.json() == {"title": "t", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_streamed_upload_without_a_length(url: str) -> None:
    parts = (b"x" * 100_000 for _ in range(50))
    assert requests.put(f"{url}/shop/raw", data=parts, timeout=60).json() == {"size": 5_000_000}


def test_server_sent_events_come_one_by_one_and_end_with_the_client(web: Cli, url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/shop/events", headers=MODEL)
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [answer.readline() for _ in range(3)] == [b"id: 0\n", b"data: a\n", b"\n"]
    answer.close()
    connection.close()
    until(lambda: not any(each["in_flight"] for each in web.status()["replicas"]), "the end of the events")


def test_a_websocket_with_a_subprotocol_text_bytes_and_a_close_code(url: str) -> None:
    address = url.replace("http", "ws") + "/shop/talk"
    with connect(address, additional_headers=MODEL, subprotocols=[Subprotocol("chat")]) as talk:
        assert talk.subprotocol == "chat"
        talk.send("hello")
        assert talk.recv(timeout=30) == "A: hello"
        talk.send(b"x" * 200_000 + b"end")
        assert talk.recv(timeout=30) == b"dne" + b"x" * 200_000
        talk.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "bye yourself")


def test_a_websockets_application_hears_when_its_client_vanishes(web: Cli, url: str) -> None:
    address = url.replace("http", "ws") + "/shop/room"
    with connect(address, additional_headers=MODEL) as polite, connect(address, additional_headers=MODEL) as rude:
        until(lambda: requests.get(f"{url}/shop/room", timeout=30).json()["inside"] == 2, "both to be inside")
        polite.close()
        rude.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: requests.get(f"{url}/shop/room", timeout=30).json()["inside"] == 0, "both to have left")
    assert sorted(requests.get(f"{url}/shop/room", timeout=30).json()["codes"]) == [1000, 1005]
    until(lambda: not any(each["in_flight"] for each in web.status()["replicas"]), "the places to be free")


def test_an_app_from_a_builder_in_a_second_application(url: str) -> None:
    assert requests.get(f"{url}/built/", timeout=30).text == "built in Built"
    assert requests.get(f"{url}/", timeout=30).status_code == 404
