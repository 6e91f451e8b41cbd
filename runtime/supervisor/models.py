"""The model verbs and ``explain``: which children are asked."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from runtime.errors import BadRequest, MuxError, NoReplicas, NoSuchThing, NotRunning
from runtime.supervisor import questions
from runtime.supervisor.api import ExplainAnswer, ModelRequest, ModelsAnswer
from runtime.supervisor.pool import Pool
from runtime.supervisor.worker import Worker

READ_TIMEOUT_S: Final = 2.0
CHANGE_MARGIN_S: Final = 10.0  # beyond load_timeout_s

VERBS: Final = ("load", "unload", "pin", "unpin")


class Models:
    """Relays what is asked about models to the children who know."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def resident(self, deployment: str = "") -> ModelsAnswer:
        """Return the models of one deployment, or of all. Raises NoSuchThing, NotRunning."""
        if deployment:
            self._deployment(deployment)
        workers = [*self._ready(deployment), *self._pool.routers()]
        return ModelsAnswer(models=await questions.models_of(workers, deployment, READ_TIMEOUT_S))

    async def change(self, verb: str, request: ModelRequest) -> ModelsAnswer:
        """Load, unload, pin or unpin. Raises NoSuchThing, BadRequest, or what a child refuses with.

        A pin that one replica cannot take is taken back from the others.
        """
        if verb not in VERBS:
            raise NoSuchThing(f"Models have no verb {verb!r}.", hint=f"There is: {', '.join(VERBS)}.")
        if not request.models:
            raise BadRequest(f"Name the models to {verb}.")
        name = self._deployment(request.deployment)
        workers = self._asked(verb, name, request.replica)
        desired = self._pool.desired
        assert desired is not None  # ``_deployment`` has looked
        limit_s = desired.deployment(name).load_timeout_s + CHANGE_MARGIN_S
        args = {"models": request.models, "deployment": name}
        everywhere = not request.replica  # what is pinned in one replica only ends with it
        if verb == "unpin" and everywhere:
            self._pool.live.unpin(name, request.models)
        try:
            changed = await questions.change_models(workers, verb, args, limit_s)
        except MuxError:
            if verb == "pin":
                await self._unpin_again(workers, name, request.models, limit_s)
            raise
        if not changed:
            said = ", ".join(map(repr, request.models))
            raise NoSuchThing(f"{name} holds no model {said}.", hint="See `mux models`.")
        if verb == "pin" and everywhere:
            self._pool.live.pin(name, request.models)
        return ModelsAnswer(models=changed)

    async def _unpin_again(self, workers: list[Worker], name: str, models: list[str], limit_s: float) -> None:
        """Take a pin back that some replicas could not take; what was pinned in all of them before stays so."""
        desired = self._pool.desired
        config = desired.by_name.get(name) if desired is not None else None
        before = {*self._pool.live.pins.get(name, ()), *(config.pin if config is not None else ())}
        taken_back = [model for model in models if model not in before]
        if taken_back:
            with suppress(MuxError):
                await questions.change_models(workers, "unpin", {"models": taken_back, "deployment": name}, limit_s)

    async def explain(self, request_id: str = "", model: str = "") -> ExplainAnswer:
        """Return why a request, or a model, went where it went. Raises NoSuchThing, BadRequest."""
        if bool(request_id) == bool(model):
            raise BadRequest("Give a request id or a model.")
        workers = [*self._pool.routers(), *self._ready("")]
        args = {"request_id": request_id} if request_id else {"model": model}
        return await questions.explain(workers, args, READ_TIMEOUT_S)

    def _ready(self, deployment: str) -> list[Worker]:
        return [one for one in self._pool.replicas(deployment) if one.phase == "ready"]

    def _deployment(self, name: str) -> str:
        """Return the deployment meant by ``name``; empty means the only one."""
        if self._pool.desired is None:
            raise NotRunning("Nothing is deployed.", hint="`mux deploy` first.")
        known = list(self._pool.desired.by_name)
        if not name and len(known) == 1:
            return known[0]
        if name in known:
            return name
        said = f"There is no deployment {name!r}." if name else "Say which deployment."
        raise NoSuchThing(said, hint=f"There is: {', '.join(known)}.")

    def _asked(self, verb: str, deployment: str, replica: str) -> list[Worker]:
        ready = self._ready(deployment)
        if replica:
            named = [one for one in ready if replica in (one.name, one.id)]
            if not named:
                known = ", ".join(one.name for one in ready)
                raise NoSuchThing(f"There is no ready replica {replica!r}.", hint=f"There is: {known}.")
            return named
        asked = self._pool.routers()[:1] if verb == "load" else ready
        if not asked or not ready:
            raise NoReplicas(f"No replica of {deployment!r} is ready.", hint="See `mux status`.")
        return asked
