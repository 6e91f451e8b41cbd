"""Outgoing calls of deployment handles: over one of the links that routers have made, to a router and its scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from runtime.link.connection import Link
from runtime.replica.router_link import RouterLink
from runtime.serve import calls
from runtime.serve.context import RequestContext


class LinkCalls:
    """A ``CallTransport``: each call takes the next of the links that live; ``own`` where there is none."""

    def __init__(self, links: Callable[[], list[Link]], loop: asyncio.AbstractEventLoop, own: RouterLink) -> None:
        self._links = links
        self._loop = loop
        self._own = own
        self._turn = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def start(
        self,
        deployment: str,
        method: str,
        model: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        request: RequestContext | None,
        timeout_s: float | None,
    ) -> asyncio.Future[object] | None:
        link = self._link()
        if link is None:
            return None
        return calls.start(link, deployment, method, model, args, kwargs, request=request, timeout_s=timeout_s)

    async def call(
        self,
        deployment: str,
        method: str,
        model: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        request: RequestContext | None,
        timeout_s: float | None,
    ) -> object:
        link = self._link() or await self._own.link()
        return await calls.start(link, deployment, method, model, args, kwargs, request=request, timeout_s=timeout_s)

    async def stream(
        self,
        deployment: str,
        method: str,
        model: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        request: RequestContext | None,
        timeout_s: float | None,
    ) -> AsyncIterator[object]:
        link = self._link() or await self._own.link()
        items = calls.stream(link, deployment, method, model, args, kwargs, request=request, timeout_s=timeout_s)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    def _link(self) -> Link | None:
        links = [link for link in self._links() if link.alive]
        if not links:
            return None
        self._turn += 1
        return links[self._turn % len(links)]
