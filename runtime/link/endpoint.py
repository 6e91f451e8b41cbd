"""Connecting and listening: ``unix:/path`` or ``tcp:host:port`` addresses to links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from runtime.errors import LinkLost
from runtime.link.connection import Link
from runtime.link.frames import Hello
from runtime.link.handlers import LinkHandler


class LinkServer:
    """Accepts links. ``close`` stops listening; links that are open stay."""

    def __init__(self, server: asyncio.Server, links: dict[Link, None]) -> None:
        self._server = server
        self.links = links

    @property
    def port(self) -> int:
        """The TCP port that was bound (0 for a Unix socket)."""
        name = self._server.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def close(self) -> None:
        self._server.close()

    def close_links(self, why: str) -> None:
        for link in list(self.links):
            link.close(why)


def parse_address(address: str) -> tuple[str, str, int]:
    """Return ("unix", path, 0) or ("tcp", host, port). Raises ``ValueError`` for anything else."""
    scheme, _, rest = address.partition(":")
    if scheme == "unix" and rest:
        return scheme, rest, 0
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host and port.isdigit():
        return scheme, host.strip("[]"), int(port)
    raise ValueError(f"{address!r} is not an address: unix:/path or tcp:host:port")


async def connect(address: str, hello: Hello, handler: LinkHandler, *, timeout_s: float = 5.0) -> Link:
    """Connect and exchange hellos. Raises ``LinkLost`` with the reason, or ``TimeoutError`` as ``LinkLost``."""
    scheme, where, port = parse_address(address)
    loop = asyncio.get_running_loop()

    def make() -> Link:
        return Link(lambda: hello, handler, accepting=False)

    try:
        async with asyncio.timeout(timeout_s):
            if scheme == "unix":
                _, link = await loop.create_unix_connection(make, where)
            else:
                _, link = await loop.create_connection(make, where, port)
            await link.ready
    except TimeoutError as exc:
        raise LinkLost(f"no link to {address} within {timeout_s:g} s") from exc
    except OSError as exc:
        raise LinkLost(f"no link to {address}: {exc.strerror or exc}") from exc
    return link


async def listen(address: str, hello: Callable[[], Hello], handler: LinkHandler, *, token: str) -> LinkServer:
    """Listen; every accepted link must show ``token``. A Unix socket is made 0600. Raises ``OSError``."""
    scheme, where, port = parse_address(address)
    loop = asyncio.get_running_loop()
    links: dict[Link, None] = {}

    def make() -> Link:
        link = _ServedLink(hello, handler, accepting=True, token=token)
        link.registry = links
        return link

    if scheme == "unix":
        path = Path(where)
        path.unlink(missing_ok=True)
        server = await loop.create_unix_server(make, where, backlog=128)
        path.chmod(0o600)
    else:
        server = await loop.create_server(make, where, port, backlog=128)
    return LinkServer(server, links)


class _ServedLink(Link):
    """A link that stands in its server's list while it is open."""

    registry: dict[Link, None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.registry[self] = None
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.registry.pop(self, None)
        super().connection_lost(exc)
