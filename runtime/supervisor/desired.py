"""What shall run: one generation of the config, with hand-made scales and restarts on top."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from runtime.config.diff import WITHOUT_RESTART, Change, diff
from runtime.config.models import Config, Deployment
from runtime.config.options import Options, left_to_code, with_code
from runtime.core.rollout import Slot
from runtime.engines.local import write_private
from runtime.errors import ConfigError
from runtime.supervisor.api import ApplyRequest

ROUTERS: Final = ""  # the deployment name of the routers' slots: no deployment can have it


class DesiredRecord(msgspec.Struct, kw_only=True):
    """``desired.json``: the last applied generation, of mode 0600 (it may hold secrets)."""

    generation: int
    config: dict[str, Any]
    env: dict[str, str]
    digests: dict[str, dict[str, str]]
    scaled: dict[str, int] = {}


@dataclass(frozen=True)
class Desired:
    """One generation. ``scaled``: replica counts set by hand; ``restarts``: how often each was restarted.

    ``options``: by deployment, what its code says of the keys that a file may leave to it. It is known once a replica
    has run the code; until then what the code before said is taken to hold on.
    """

    generation: int
    config: Config
    env: Mapping[str, str] = field(repr=False)
    digests: Mapping[str, Mapping[str, str]]
    scaled: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Options] = field(default_factory=dict)

    @classmethod
    def parse(cls, request: ApplyRequest, previous: Desired | None, generation: int) -> Desired:
        """Return what ``request`` asks for; a scale made by hand ends with it. Raises ConfigError."""
        return cls(
            generation=generation,
            config=_config(request.config),
            env=request.env,
            digests=request.digests,
            restarts=previous.restarts if previous else {},
            options=previous.options if previous else {},
        )

    @classmethod
    def load(cls, path: Path) -> Desired | None:
        """Return the recorded generation; None where there is none that this version can read."""
        try:
            record = msgspec.json.decode(path.read_bytes(), type=DesiredRecord)
            config = _config(record.config)
        except (FileNotFoundError, msgspec.DecodeError, ConfigError):
            return None
        return cls(record.generation, config, record.env, record.digests, record.scaled)

    def save(self, path: Path) -> None:
        """Record this generation."""
        record = DesiredRecord(
            generation=self.generation,
            config=self.config.model_dump(mode="json", exclude_unset=True),
            env=dict(self.env),
            digests={name: dict(files) for name, files in self.digests.items()},
            scaled=dict(self.scaled),
        )
        write_private(path, msgspec.json.encode(record))

    def changes_from(self, current: Desired | None) -> list[Change]:
        """Return what has to be done to get here from ``current``."""
        if current is None:
            return diff(None, self.config, {}, self.digests)
        return diff(current.config, self.config, current.digests, self.digests, current.scaled, current.options)

    def scale(self, replicas: Mapping[str, int], generation: int) -> Desired:
        """Return this with other replica counts; one that equals the config's is no longer by hand."""
        merged = {**self.scaled, **replicas}
        by_hand = {name: n for name, n in merged.items() if n != self.deployment(name).num_replicas}
        return replace(self, scaled=by_hand, generation=generation)

    def restart(self, names: list[str], generation: int) -> Desired:
        """Return this with every replica of ``names`` outdated."""
        counts = dict(self.restarts)
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        return replace(self, restarts=counts, generation=generation)

    def heed(self, name: str, options: Options) -> Desired:
        """Return this with what the code of a deployment says now; itself where that is known."""
        if self.options.get(name) == options:
            return self
        return replace(self, options={**self.options, name: options})

    @cached_property
    def by_name(self) -> dict[str, Deployment]:
        """The deployments as they were written: what a replica is given, which knows its code."""
        return {deployment.name: deployment for deployment in self.config.deployments}

    @cached_property
    def _in_force(self) -> dict[str, Deployment]:
        return {name: with_code(one, self.options.get(name, {})) for name, one in self.by_name.items()}

    def deployment(self, name: str) -> Deployment:
        """Return what holds for a deployment: the file, and the code where the file leaves it the choice."""
        return self._in_force[name]

    def count(self, name: str) -> int:
        """Return how many replicas of ``name`` shall run."""
        return self.scaled.get(name, self.deployment(name).num_replicas)

    @cached_property
    def router_revision(self) -> str:
        config = self.config
        return _digest(config.http.model_dump(mode="json"), config.model_id.model_dump(mode="json"))

    @cached_property
    def revisions(self) -> dict[str, str]:
        """Per deployment a digest of all that needs new processes when it changes."""
        cache = self.config.cache.model_dump(mode="json")
        return {
            name: _digest(
                deployment.settled().model_dump(mode="json", exclude=set(WITHOUT_RESTART)),
                sorted(left_to_code(deployment) - WITHOUT_RESTART.keys()),
                cache if deployment.s3 else None,
                dict(self.digests.get(name, {})),
                self.restarts.get(name, 0),
            )
            for name, deployment in self.by_name.items()
        }

    @cached_property
    def slots(self) -> list[Slot]:
        """Every process that shall run: routers first, for they are up soonest."""
        routers = [Slot(ROUTERS, index, self.router_revision) for index in range(self.config.http.routers)]
        replicas = [
            Slot(name, index, self.revisions[name]) for name in self.by_name for index in range(self.count(name))
        ]
        return routers + replicas


def _config(data: dict[str, Any]) -> Config:
    try:
        return Config.model_validate_json(msgspec.json.encode(data))
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise ConfigError(f"the configuration is not valid: {problems}") from exc


def _digest(*parts: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=8).hexdigest()
