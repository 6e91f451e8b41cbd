"""What a child is told at its start: its spec, its environment, its sockets."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.core.rollout import Slot
from runtime.engines.local import write_private
from runtime.link.control import ChildSpec
from runtime.project import Project
from runtime.supervisor.desired import ROUTERS, Desired

# A router forwards bodies in chunks that it frees at once. By its defaults glibc gives the top of the heap back each
# time, to fault it in again for the next chunk: 4,263 faults and 17 ms of system time for a body of 10 MB, against 1
# and 4 ms with these. Replicas have no such faults, and must give the memory of unloaded models back.
ROUTER_MALLOC: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(2**20),
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
}

_ALPHABET: Final = string.ascii_letters + string.digits


def new_incarnation() -> str:
    """Return six random letters and digits, as in ``Model#EjYmnQ``."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(6))


def kept_token(path: Path) -> str:
    """Return the secret in a file of mode 0600, made at the first call."""
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(24)
        write_private(path, token.encode())
    return token


@dataclass(frozen=True, slots=True)
class Specs:
    """Writes the specs of one project's children. ``calls_token`` opens the routers' socket for handles."""

    project: Project
    calls_token: str

    def of(self, desired: Desired, slot: Slot, incarnation: str) -> ChildSpec:
        """Return the spec of a new child in ``slot``; its descriptors are the engine's to fill in."""
        if slot.deployment == ROUTERS:
            return self._router(desired, slot.index)
        return self._replica(desired, slot, incarnation)

    def _router(self, desired: Desired, index: int) -> ChildSpec:
        http = desired.config.http
        name = f"router-{index}"
        return ChildSpec(
            role="router",
            name=name,
            project=self.project.name,
            config_dir=str(self.project.config_path.parent),
            log_dir=str(self.project.log_dir(name)),
            control_fd=-1,
            liveness_fd=-1,
            generation=desired.generation,
            index=index,
            http=http.model_dump(mode="json"),
            model_id=desired.config.model_id.model_dump(mode="json"),
            admin_token=http.admin_token or "",
            calls_address=self._calls_address(index),
            calls_token=self.calls_token,
        )

    def _replica(self, desired: Desired, slot: Slot, incarnation: str) -> ChildSpec:
        deployment = desired.by_name[slot.deployment]
        cache = desired.config.cache
        folder = self.project.config_path.parent
        name = f"{deployment.name}#{incarnation}"
        return ChildSpec(
            role="replica",
            name=name,
            project=self.project.name,
            config_dir=str(folder),
            log_dir=str(self.project.log_dir(name)),
            control_fd=-1,
            liveness_fd=-1,
            generation=desired.generation,
            deployment=deployment.to_spec(),
            application=deployment.application,
            index=slot.index,
            replicas=desired.count(slot.deployment),
            address=f"unix:{self.project.sockets / f'{incarnation}.sock'}",
            token=secrets.token_urlsafe(24),
            calls_address=self._calls_address(0),
            calls_token=self.calls_token,
            cache_dir=str(folder / cache.dir if cache.dir else self.project.cache),
            cache_max_bytes=cache.max_bytes,
        )

    def _calls_address(self, router: int) -> str:
        return f"unix:{self.project.sockets / f'calls-{router}.sock'}"

    def env(self, desired: Desired, slot: Slot) -> dict[str, str]:
        """Return a child's whole environment: the deploying shell's over a router's malloc, under a replica's own."""
        if slot.deployment == ROUTERS:
            return {**ROUTER_MALLOC, **desired.env}
        return {**desired.env, **desired.deployment(slot.deployment).env}
