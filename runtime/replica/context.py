"""What ``serve.get_replica_context()`` returns in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.replica.calls import LinkCalls

AskModel = Callable[[int, str, object | None], Any]


class ServedReplica:
    """Implements ``runtime.serve.context.ReplicaContext``."""

    def __init__(
        self,
        app_name: str,
        deployment: str,
        replica_id: str,
        *,
        ask: AskModel,
        servable_object: Callable[[], object],
        transport: LinkCalls,
    ) -> None:
        self.app_name = app_name
        self.deployment = deployment
        self.replica_id = replica_id
        self.replica_tag = f"{app_name}_{deployment}#{replica_id}"
        self.transport = transport
        self._ask = ask
        self._servable_object = servable_object

    @property
    def servable_object(self) -> object:
        return self._servable_object()

    async def load_model(self, cache: int, model_id: str, owner: object | None) -> object:
        return await self._ask(cache, model_id, owner)
