"""Outgoing calls of deployment handles: over one of the links that routers have made, to a router and its scheduler."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from runtime.link.connection import Link
from runtime.replica.router_link import RouterLink
from runtime.serve.transport import LinkTransport


class LinkCalls(LinkTransport):
    """Each call takes the next of the links that live; ``own`` where there is none."""

    def __init__(self, links: Callable[[], list[Link]], loop: asyncio.AbstractEventLoop, own: RouterLink) -> None:
        self._links = links
        self._loop = loop
        self._own = own
        self._turn = 0
        self._process = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Raises ``RuntimeError`` in a forked process: the loop runs in the replica alone."""
        if self._process != os.getpid():
            raise RuntimeError(
                "a process that a replica has forked cannot call deployments: call in the replica and hand the result "
                "over, or use serve.get_deployment_handle() in a process that was started afresh"
            )
        return self._loop

    def link_now(self, deployment: str) -> Link | None:
        links = [link for link in self._links() if link.alive]
        if not links:
            return None
        self._turn += 1
        return links[self._turn % len(links)]

    async def link(self, deployment: str) -> Link:
        return self.link_now(deployment) or await self._own.link()
