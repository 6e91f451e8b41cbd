"""The public sockets: bound by the supervisor, kept for its life, handed to routers by descriptor.

A router that dies loses no connection that waits in the backlog: the socket is not its own.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Final

from runtime.config.models import Http
from runtime.errors import PortInUse
from runtime.project import known_projects

BACKLOG: Final = 4096  # the kernel caps it at net.core.somaxconn


@dataclass(frozen=True, slots=True)
class Address:
    """What the config asks for. ``port`` 0: any free one, chosen when it is first bound."""

    host: str
    port: int

    @classmethod
    def of(cls, http: Http) -> Address:
        return cls(http.host, http.port)


class PublicSockets:
    """The listening sockets by configured address: one a router, sharing the port by SO_REUSEPORT."""

    def __init__(self) -> None:
        self._bound: dict[Address, list[socket.socket]] = {}

    def bind(self, address: Address, count: int) -> None:
        """Make sure that ``count`` sockets listen on ``address``. Raises PortInUse, leaving all as it was."""
        sockets = self._bound.get(address, [])
        fresh: list[socket.socket] = []
        try:
            if not sockets and address.port not in self._own_ports():
                _probe(address)
            for _ in range(count - len(sockets)):
                held = sockets or fresh
                port = held[0].getsockname()[1] if held else address.port
                fresh.append(_listen(address, port))
        except OSError as exc:
            for one in fresh:
                one.close()
            raise _explained(address, exc) from exc
        self._bound[address] = sockets + fresh

    def _own_ports(self) -> set[int]:
        return {one.getsockname()[1] for sockets in self._bound.values() for one in sockets}

    def of_router(self, address: Address, index: int) -> socket.socket:
        """Return the socket of one router. Only after ``bind``; one that ``trim`` closed is bound again."""
        self.bind(address, index + 1)
        return self._bound[address][index]

    def url(self, address: Address) -> str:
        """Return the address as a client on this machine reaches it; empty if it is not bound."""
        sockets = self._bound.get(address)
        if not sockets:
            return ""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(address.host, address.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"

    def trim(self, address: Address, count: int) -> None:
        """Close all but the first ``count`` of ``address`` here: a router's own copy is the last, and ends with it."""
        sockets = self._bound.get(address, [])
        for one in sockets[count:]:
            one.close()
        del sockets[count:]

    def keep_only(self, address: Address | None, count: int = 0) -> None:
        """Close every socket but the first ``count`` of ``address``; their waiting connections are refused."""
        for bound, sockets in list(self._bound.items()):
            kept = count if bound == address else 0
            for one in sockets[kept:]:
                one.close()
            self._bound[bound] = sockets[:kept]
            if not kept:
                del self._bound[bound]


def _probe(address: Address) -> None:
    """Raise OSError if anyone listens there.

    Without SO_REUSEPORT: with it, a second project of the same user would share the port and steal its requests.
    """
    if address.port:
        with _bound(address, address.port) as probe:
            probe.listen(1)


def _listen(address: Address, port: int) -> socket.socket:
    sock = _bound(address, port, share=True)
    try:
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bound(address: Address, port: int, *, share: bool = False) -> socket.socket:
    family, _, _, _, where = socket.getaddrinfo(
        address.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _explained(address: Address, exc: OSError) -> PortInUse:
    where = f"{address.host}:{address.port}"
    if isinstance(exc, socket.gaierror):
        return PortInUse(f"{where} cannot be listened on: {exc.strerror}", hint="Check http.host.")
    if isinstance(exc, PermissionError):
        return PortInUse(f"{where} needs more rights than this user has.", hint="Set http.port above 1023.")
    holder = _holder(address.port)
    return PortInUse(
        f"{where} is in use{f' by {holder}' if holder else f' or cannot be bound ({exc.strerror})'}.",
        hint="Stop what uses it, or set http.port to another port (0: any free one).",
    )


def _holder(port: int) -> str:
    """Return who listens on ``port``, as "nginx (pid 12)" or "the project 'shop' (pid 12)"; empty where unknown."""
    import psutil  # only for a failure's sentence

    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listening and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{_project_of(process.cmdline()) or process.name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""


def _project_of(command: list[str]) -> str:
    """Return "the project 'shop'" for the command line of one of its processes: it names its state, or its config."""
    for one in known_projects():
        if str(one.config_path) in command or any(word.startswith(f"{one.root}{os.sep}") for word in command):
            return f"the project {one.name!r}"
    return ""
