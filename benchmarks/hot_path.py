"""What one small request costs in Python, without sockets: ``python -m benchmarks.hot_path [--replica]``.

The real router with its real front, scheduler and log, between a transport that takes everything and a link whose
answers are fed by hand, 64 requests in flight; or the real replica with its residency, its log and user code, between
frames that are fed by hand and a link that takes everything, 32 requests in flight. The minimum over many rounds is
what the code costs; the rest is the machine's noise.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Raw

from benchmarks.servers import APPS
from runtime.config.deployment import Deployment
from runtime.link.control import ChildSpec, ReplicaEntry, RouteEntry, Table
from runtime.link.endpoint import LinkServer, connect, listen
from runtime.link.frames import (
    END,
    HEADER_SIZE,
    MAGIC,
    REQUEST,
    RESPONSE,
    VERSION,
    Command,
    Hello,
    ModelHead,
    RequestHead,
    ResponseHead,
    State,
    SummaryHead,
    encode_head,
)
from runtime.observe.logs import Identity, LogWriter
from runtime.replica.building import build_host
from runtime.replica.settings import DeploymentSettings
from runtime.router.router import Router

REQUEST_BYTES = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nserve-multiplexed-model-id: %d\r\n\r\n"
IN_FLIGHT = 64
DEADLINE_S = 10.0  # for the link to come up


class Sink(asyncio.Transport):
    """Takes everything at once and remembers only how many writes there were."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80), "socket": socket.socket()})
        self.writes = 0
        self.data: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes += 1
        self.data.append(data)

    def writelines(self, data: Any) -> None:
        self.writes += 1
        self.data.extend(data)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


class Replica:
    """Says that it is up with four models; its answers are fed by hand."""

    def __init__(self) -> None:
        self.up = asyncio.Event()

    def connected(self, link: Any) -> None:
        models = [ModelHead(str(number), "resident", 0.1) for number in range(4)]
        link.send_state(State(1, True, models, SummaryHead(free_slots=4)))
        self.up.set()

    def lost(self, link: Any, why: str) -> None: ...

    def command(self, link: Any, command: Any) -> None: ...

    def goaway(self, link: Any, reason: str) -> None: ...


async def started(folder: Path) -> tuple[Router, Any, LinkServer]:
    """Return a router with one replica, its end of the link, and what listens at the other end.

    That stops to listen with the last reference to it. Raises ``TimeoutError``.
    """
    spec = ChildSpec(
        role="router", name="router-0", project="bench", config_dir=str(folder), log_dir=str(folder / "log"),
        control_fd=-1, liveness_fd=-1,
    )  # fmt: skip
    router = Router(spec, LogWriter(folder / "log", Identity("router-0")))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    await router.start([sock])
    replica, address = Replica(), f"unix:{folder}/r.sock"
    hello = Hello(MAGIC, VERSION, "replica", "Model#bench0", deployment="Model", places=1000, slots=8, caches=1)
    server = await listen(address, lambda: hello, replica, token="")  # type: ignore[arg-type]
    table = Table(
        generation=1,
        routes=[RouteEntry(name="Model", deployment={"name": "Model", "loader": "app:load"})],
        replicas=[ReplicaEntry(id="Model#bench0", deployment="Model", index=0, address=address)],
    )
    async with asyncio.timeout(DEADLINE_S):
        for each in router.apply(table):
            await each.up.wait()
    pool = next(iter(router.fleet.pools.values()))
    return router, next(iter(pool.replicas.values())).link, server


async def rounds(count: int) -> list[float]:
    """Return seconds per request of each round."""
    with tempfile.TemporaryDirectory(prefix="mux-bench-", dir="/tmp") as name:
        router, link, server = await started(Path(name))
        config, state = router.server.config, router.server.server_state
        clients = []
        for _ in range(IN_FLIGHT):
            client = config.http_protocol_class(config=config, server_state=state, app_state={})
            client.connection_made(Sink())
            clients.append(client)
        link.outbox.attach(wire := Sink())
        answer = encode_head(ResponseHead(200, [(b"content-type", b"application/json")], "hit", body=b'{"model":"1"}'))
        view, seen = memoryview(answer), []
        for turn in range(count):
            began = time.perf_counter()
            for number, client in enumerate(clients):
                client.data_received(REQUEST_BYTES % (number % 4))
            link.outbox.flush()
            frames = [data for data in wire.data if data[8] == REQUEST]
            for data in frames:
                link._received(RESPONSE, int.from_bytes(data[4:8], "big"), END, view)
            seen.append((time.perf_counter() - began) / IN_FLIGHT)
            assert len(frames) == IN_FLIGHT
            assert all(len(data) > HEADER_SIZE for data in frames)
            wire.data.clear()
            for client in clients:
                assert client.transport.data
                client.transport.data.clear()
            if turn % 10 == 0:
                await asyncio.sleep(0)
        for client in clients:
            client.connection_lost(None)
        await router.stop(1.0)
        server.close()
        return seen


async def replica_rounds(count: int) -> list[float]:
    """Return seconds per request of each round."""
    with tempfile.TemporaryDirectory(prefix="mux-bench-", dir="/tmp") as name:
        folder = Path(name)
        spec = ChildSpec(
            role="replica", name="Model#bench0", project="bench", config_dir=str(APPS), log_dir=str(folder / "log"),
            control_fd=-1, liveness_fd=-1,
        )  # fmt: skip
        config = Deployment(
            name="Model", loader="trivial:load_model", handler="trivial:predict", max_num_models_per_replica=4,
            max_ongoing_requests=100,
        )  # fmt: skip
        sys.path.insert(0, str(APPS))
        writer = LogWriter(folder / "log", Identity("Model#bench0", "bench", "Model", "bench0"))
        nothing: Any = lambda *args: None  # noqa: E731
        settings = DeploymentSettings.of_spec(config.to_spec())
        host = build_host(spec, settings, writer, progress=nothing, on_command=nothing, on_fault=nothing)
        await host.servable.start({})
        hello = Hello(MAGIC, VERSION, "replica", "Model#bench0", deployment="Model", places=1000, slots=4, caches=1)
        server = await listen(f"unix:{folder}/r.sock", lambda: hello, host, token="")
        peer = Peer()
        link = await connect(f"unix:{folder}/r.sock", Hello(MAGIC, VERSION, "router", "router-0"), peer)
        for number in range(4):
            link.command(Command("want", str(number), "cold", waiting=1, data=Raw(b"\xc0")))
        async with asyncio.timeout(DEADLINE_S):
            await peer.ready.wait()
        theirs = next(iter(host.links.values()))
        theirs.outbox.attach(wire := Sink())
        seen, stream = [], 1
        heads = [memoryview(encode_head(_request(str(number)))) for number in range(4)]
        for _ in range(count):
            began = time.perf_counter()
            for number in range(IN_FLIGHT // 2):
                stream += 2
                theirs._received(REQUEST, stream, END, heads[number % 4])
            while host.works:  # noqa: ASYNC110 (waking up would be measured too)
                await asyncio.sleep(0)
            seen.append((time.perf_counter() - began) / (IN_FLIGHT // 2))
            await asyncio.sleep(0)
            assert sum(data[8] == RESPONSE for data in wire.data) == IN_FLIGHT // 2
            wire.data.clear()
        link.close("done")
        server.close()
        host.close()
        writer.close()
        return seen


def _request(model: str) -> RequestHead:
    headers = [(b"host", b"127.0.0.1:8000"), (b"serve-multiplexed-model-id", model.encode())]
    return RequestHead(
        "GET", "/", b"/", b"", "http", "1.1", ("127.0.0.1", 5), ("127.0.0.1", 80), headers, "/", model, "0123456789", 0
    )


class Peer:
    """A router that only looks which models are resident."""

    def __init__(self) -> None:
        self.resident: set[str] = set()
        self.ready = asyncio.Event()

    def connected(self, link: Any) -> None: ...

    def lost(self, link: Any, why: str) -> None: ...

    def state(self, link: Any, state: State) -> None:
        self.resident |= {head.model for head in state.models if head.state == "resident"}
        if len(self.resident) == 4:
            self.ready.set()

    def command(self, link: Any, command: Any) -> None: ...

    def goaway(self, link: Any, reason: str) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--replica", action="store_true", help="the replica instead of the router")
    parser.add_argument("--profile", action="store_true", help="where it goes (the profiler's own cost included)")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run((replica_rounds if options.replica else rounds)(options.rounds))
    profile.disable()
    seen.sort()
    name = "replica" if options.replica else "router"
    print(f"{name}: {1e6 * seen[0]:.1f} µs a request at best, {1e6 * seen[len(seen) // 2]:.1f} in the median round")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
