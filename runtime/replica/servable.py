"""What the replica needs of the user's code, whichever style it is written in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime.core.events import Key
from runtime.replica.cleanup import Unloader

if TYPE_CHECKING:
    from runtime.replica.call_server import CallWork
    from runtime.replica.request import HttpWork


class Servable(Protocol):
    """User code, imported and constructed."""

    caches: tuple[int, ...]  # the caps that the code declares, one per multiplexed loader; -1 unlimited
    cache_names: tuple[str, ...]  # the loaders' names
    options: dict[str, Any]  # what the code itself says of the deployment's options; the config goes before it
    max_batch: int  # the largest @serve.batch of the code; 1 without one
    admits_failed: bool  # whether user code itself is to see a failed early load
    asgi_app: Any  # an ASGI application that answers everything, or None
    unloader: Unloader | None

    @property
    def servable_object(self) -> object:
        """The deployment's instance or function; the handler in loader style."""

    @property
    def asgi_state(self) -> dict[str, Any]:
        """What the application's lifespan left."""

    async def start(self, user_config: Any) -> None:
        """Construct what has to be constructed; then ``reconfigure``, then the lifespan. Raises what it raises."""

    async def respond(self, work: HttpWork) -> Any:
        """Run the HTTP handler and return its value."""

    async def call(self, work: CallWork, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a method for a handle's call and return its value (a generator for a streaming one)."""

    async def load(self, key: Key, owner: object | None, path: Path | None) -> object:
        """Run the loader."""

    def loads_in_thread(self, key: Key) -> bool:
        """Whether that loader is sync."""

    async def check_health(self) -> None:
        """Run the user's check; an exception means unhealthy."""

    async def reconfigure(self, user_config: Any) -> None:
        """Hand a new ``user_config`` over."""

    async def stop(self) -> None:
        """End the lifespan, and run the instance's own cleanup once."""
