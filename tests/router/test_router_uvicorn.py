"""The contract with uvicorn's protocols: what we override or rely on is there, in the form we know.

A new minor version of uvicorn has to pass here before the pin in ``pyproject.toml`` is widened.
"""

from __future__ import annotations

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from runtime.router.guard import GuardedProtocol
from runtime.router.plain import PlainCycle, PlainProtocol
from runtime.router.seat import AsgiSeat, WatchedFlow
from runtime.router.server import Server
from runtime.router.watched_websocket import WatchedWebsocket

BASES = {
    GuardedProtocol: HttpToolsProtocol,
    PlainProtocol: HttpToolsProtocol,
    WatchedFlow: FlowControl,
    WatchedWebsocket: WebSocketsSansIOProtocol,
    Server: uvicorn.Server,
}
OVERRIDDEN = [
    (ours, base, name)
    for ours, base in BASES.items()
    for name in vars(ours)
    if callable(getattr(ours, name)) and hasattr(base, name) and name not in ("__init__", "__doc__")
]


def test_the_version_is_the_one_that_was_read() -> None:
    assert uvicorn.__version__.split(".")[:2] == ["0", "54"]


@pytest.mark.parametrize(("ours", "base", "name"), OVERRIDDEN, ids=[f"{o.__name__}.{n}" for o, _, n in OVERRIDDEN])
def test_an_overridden_method_takes_what_the_base_takes(ours: type, base: type, name: str) -> None:
    theirs = list(inspect.signature(inspect.unwrap(getattr(base, name))).parameters)
    assert list(inspect.signature(inspect.unwrap(getattr(ours, name))).parameters) == theirs


@pytest.mark.parametrize(
    "name",
    [
        "connection_made", "connection_lost", "data_received", "on_message_begin", "on_url", "on_header",
        "on_headers_complete", "on_body", "on_message_complete", "on_response_complete", "resume_writing",
        "_start_asgi_task", "_should_upgrade", "handle_websocket_upgrade", "shutdown",
    ],
)  # fmt: skip
def test_uvicorn_still_has_the_method(name: str) -> None:
    assert callable(getattr(HttpToolsProtocol, name))


def test_our_protocol_never_uses_uvicorns_timers() -> None:
    assert "timeout_keep_alive_task" not in inspect.getsource(GuardedProtocol.on_response_complete)
    assert "timeout_keep_alive_task" in inspect.getsource(HttpToolsProtocol.on_response_complete)


def test_a_cycle_uses_of_its_transport_only_what_a_seat_has() -> None:
    source = inspect.getsource(RequestResponseCycle)
    used = {part.split("(")[0] for part in source.split("self.transport.")[1:]}
    assert used <= {name for name in vars(AsgiSeat) if not name.startswith("_")}


def test_uvicorn_finds_in_a_plain_cycle_what_it_looks_for() -> None:
    source = inspect.getsource(HttpToolsProtocol)
    used = {part.split(" ")[0].split(":")[0].split(".")[0].split(")")[0] for part in source.split("self.cycle.")[1:]}
    ours = set(PlainCycle.__slots__)
    assert used - {"body", "more_body"} <= ours
