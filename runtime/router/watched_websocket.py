"""uvicorn's websocket protocol, apart from the rest: it is imported when the first websocket comes."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from runtime.router.front import CONNECTION, Guest


class WatchedWebsocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol; whoever uses the connection is told when it is lost, whatever it waits for."""

    guest: Guest | None = None

    async def run_asgi(self) -> None:
        self.scope[CONNECTION] = self  # type: ignore[typeddict-unknown-key]
        await super().run_asgi()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.guest is not None:
            self.guest.gone()
