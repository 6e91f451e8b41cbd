"""Outgoing calls of deployment handles: over one of this replica's own links, to a router and its scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from runtime.errors import NoReplicas
from runtime.link.connection import Link
from runtime.serve import calls
from runtime.serve.context import RequestContext


class LinkCalls:
    """A ``CallTransport``: each call takes the next of the links that live."""

    def __init__(self, links: Callable[[], list[Link]], loop: asyncio.AbstractEventLoop) -> None:
        self._links = links
        self._loop = loop
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
    ) -> asyncio.Future[object]:
        link = self._link(deployment)
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
        link = self._link(deployment)
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
        link = self._link(deployment)
        items = calls.stream(link, deployment, method, model, args, kwargs, request=request, timeout_s=timeout_s)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    def _link(self, deployment: str) -> Link:
        links = [link for link in self._links() if link.alive]
        if not links:
            raise NoReplicas(f"{deployment} cannot be called: no router is connected", retry_after_s=1.0)
        self._turn += 1
        return links[self._turn % len(links)]
