"""All parts of a router put together; the process round it is in ``main.py``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from runtime.cpu_latency import CpuLatency
from runtime.link.endpoint import LinkServer, listen
from runtime.link.frames import MAGIC, VERSION, Hello
from runtime.router.admin import Admin
from runtime.router.admission import Admission
from runtime.router.calls import Calls
from runtime.router.desk import Desk
from runtime.router.fleet import Fleet
from runtime.router.front import Front
from runtime.router.metrics import Metrics
from runtime.router.outside import Outside
from runtime.router.overview import Overview
from runtime.router.server import Server
from runtime.router.settings import http_settings, model_id_settings
from runtime.router.sweep import Sweep
from runtime.router.wakefulness import Wakefulness
from runtime.router.websocket import Websockets

if TYPE_CHECKING:
    from runtime.link.control import ChildSpec, Table
    from runtime.observe.logs import LogWriter
    from runtime.router.replica import Replica


class Router:
    """``fast``: small requests take the short way past ASGI. ``parts``: what the fleet is given instead of its own."""

    def __init__(self, spec: ChildSpec, log: LogWriter, *, fast: bool = True, **parts: Any) -> None:
        http = http_settings(spec.http)
        self.desk = Desk(log)
        self.admission = Admission(self.desk, http, model_id_settings(spec.model_id))
        self.calls = Calls(self.desk, lambda name: self.fleet.pool(name), self.admission.models.check)
        self.fleet = Fleet(spec.name, log, self.calls.opened, routers=http.routers, **parts)
        self.overview = Overview(spec.name, self.fleet, self.desk, self.admission.models)
        self.admin = Admin(self.fleet, self.desk, self.overview, Metrics(self.fleet, self.desk), spec.admin_token)
        self.sweep = Sweep(self.desk, lambda: self.server.connections())
        self.sweep.tasks.append(self.fleet.collect)
        self._wakefulness = self._awake_at(http.cpu_latency_us)
        front = Front(self.admission, self.admin, Websockets(self.admission))
        self.server = Server(front, self.admission, self.sweep, fast=fast)
        self._spec = spec
        self._outside: LinkServer | None = None

    def _awake_at(self, latency_us: int | None) -> Wakefulness | None:
        if latency_us is None:
            return None
        latency = CpuLatency(latency_us)
        wakefulness = Wakefulness(latency, lambda: self.fleet.handled, self.desk.log, self.desk.clock)
        self.sweep.tasks.append(wakefulness.look)
        return wakefulness

    async def start(self, sockets: list[socket.socket]) -> None:
        """Serve. Raises ``OSError`` or ``TimeoutError`` if that cannot begin."""
        spec = self._spec
        if spec.calls_address:
            hello = Hello(MAGIC, VERSION, "router", spec.name)
            handler = Outside(self.calls)
            self._outside = await listen(spec.calls_address, lambda: hello, handler, token=spec.calls_token)
        await self.server.start(sockets)
        self.sweep.start()

    def apply(self, table: Table) -> list[Replica]:
        """Make a table true; return the replicas that have to be connected before it is."""
        replicas = self.fleet.apply(table)
        self.admission.routes = self.fleet.routes
        return replicas

    async def stop(self, drain_s: float) -> bool:
        """Stop accepting, answer what runs within ``drain_s``, close the links; return whether all was answered."""
        self.admin.draining = True
        ended = await self.server.stop(drain_s)
        self.sweep.stop()
        if self._wakefulness is not None:
            self._wakefulness.close()
        if self._outside is not None:
            self._outside.close()
            self._outside.close_links("the router stops")
        await self.fleet.close("the router stops")
        return ended
