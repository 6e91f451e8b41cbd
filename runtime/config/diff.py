"""What changes from one configuration to the next, and how little has to be disturbed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runtime.config.keys import is_secret
from runtime.config.models import Config, Deployment
from runtime.config.options import Options, left_to_code
from runtime.config.redact import is_named_secret
from runtime.config.units import format_duration, format_size

Sign = Literal["+", "~", "-"]
Action = Literal["start", "restart", "reconfigure", "scale", "router", "stop", "none"]
Digests = Mapping[str, Mapping[str, str]]

WITHOUT_RESTART: dict[str, Action] = {
    "num_replicas": "scale",
    "user_config": "reconfigure",
    "max_queued_requests": "none",
    "request_timeout_s": "none",
    "graceful_shutdown_timeout_s": "none",
    "health_check_period_s": "none",
    "health_check_timeout_s": "none",
    "max_surge": "none",
}
"""Keys of a deployment that a change of does not restart its replicas, and what it does instead."""

_ROUTER = ("http", "model_id")
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: ``~ Model: num_replicas 2 → 3``.

    ``what`` is a deployment's name or ``router``. ``action``: ``start`` or ``stop`` all of its replicas, ``restart``
    them one by one, ``reconfigure`` them as they run, ``scale`` their number, replace the ``router`` processes, or
    ``none``: routers and supervisor take it over and nothing is disturbed.
    """

    sign: Sign
    what: str
    why: str
    action: Action

    def __str__(self) -> str:
        return f"{self.sign} {self.what}: {self.why}" if self.why else f"{self.sign} {self.what}"

    def as_event(self) -> dict[str, str]:
        """Return it as it travels in a ``plan`` event."""
        return {"sign": self.sign, "what": self.what, "why": self.why, "action": self.action}


def diff(
    old: Config | None,
    new: Config,
    old_digests: Digests,
    new_digests: Digests,
    scaled: Mapping[str, int] | None = None,
    options: Mapping[str, Options] | None = None,
) -> list[Change]:
    """Return what has to be done, in the order of the file, what ends last; empty if nothing changed.

    ``old`` is what runs (None: nothing), the digests are ``code_digests`` of both, ``scaled`` holds the replica
    counts that were set by hand since: applying a file ends them. ``options`` is what the running code says, by
    deployment: it holds for the keys that a file does not name. Secrets are never shown.
    """
    said = options or {}
    before = {deployment.name: deployment for deployment in old.deployments} if old else {}
    changes = list(_router(old, new))
    for deployment in new.deployments:
        name = deployment.name
        if name not in before or old is None:
            changes.append(Change("+", name, _summary(deployment, None), "start"))
            continue
        causes = [
            *_keys(before[name], deployment, (scaled or {}).get(name), said.get(name)),
            *_cache(old, new, deployment),
            *_code(old_digests.get(name, {}), new_digests.get(name, {})),
        ]
        changes += _merged(name, causes)
    kept = {deployment.name for deployment in new.deployments}
    gone = [name for name in before if name not in kept]
    changes += [Change("-", name, _summary(before[name], said.get(name, {})), "stop") for name in gone]
    return changes


def _summary(deployment: Deployment, options: Options | None) -> str:
    """Return ``2 replicas, route /``. ``options`` None: what the code says is not known yet."""
    count, route = deployment.num_replicas, deployment.route_prefix
    unless = ""
    if "num_replicas" in left_to_code(deployment):
        count = (options or {}).get("num_replicas", count)
        unless = " unless the code says otherwise" if options is None else ""
    return f"{count} replica{'s' if count != 1 else ''}{unless}, {f'route {route}' if route else 'no route'}"


def _merged(name: str, causes: list[tuple[Action, str]]) -> Iterator[Change]:
    """Yield one change per action. A restart brings all else with it but the number of replicas."""
    restart = any(action == "restart" for action, _ in causes)
    grouped: dict[Action, list[str]] = {}
    for action, why in causes:
        grouped.setdefault("restart" if restart and action != "scale" else action, []).append(why)
    order: tuple[Action, ...] = ("restart", "reconfigure", "scale", "none")
    for action in order:
        if action in grouped:
            yield Change("~", name, ", ".join(grouped[action]), action)


def _router(old: Config | None, new: Config) -> Iterator[Change]:
    if old is None:
        count = new.http.routers
        many = f", {count} processes" if count > 1 else ""
        where = f"http://{new.http.host}:{new.http.port}" if new.http.port else f"any free port of {new.http.host}"
        yield Change("+", "router", where + many, "router")
        return
    whys = [
        _changed((section, key), getattr(getattr(old, section), key), getattr(getattr(new, section), key))
        for section in _ROUTER
        for key in type(getattr(new, section)).model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
    if whys:
        yield Change("~", "router", ", ".join(whys), "router")


def _keys(
    old: Deployment, new: Deployment, by_hand: int | None, options: Options | None
) -> Iterator[tuple[Action, str]]:
    old, new = old.settled(), new.settled()
    for key in ("num_replicas", *(key for key in Deployment.model_fields if key != "num_replicas")):
        before, after = _Value.of(old, key, options), _Value.of(new, key, options)
        if key == "num_replicas" and by_hand is not None:
            note = " (scaled by hand)" if by_hand != before.value else ""
            before = _Value(by_hand, note)
        action = WITHOUT_RESTART.get(key, "restart")
        at_stake = before.left != after.left and (action == "restart" or options is None)
        if before.value == after.value and not at_stake:
            continue
        path = ("deployments", 0, key)
        if key in ("user_config", "env", "s3") and before.is_mapping and after.is_mapping:
            yield from ((action, why) for why in _inside(path, _plain(before.value), _plain(after.value)))
        else:
            yield action, _changed(path, before.value, after.value, before.note, after.note)


@dataclass(frozen=True, slots=True)
class _Value:
    """What holds for one key. ``left``: the file does not name it, so that the code decides; ``note`` says so."""

    value: Any
    note: str = ""
    left: bool = False

    @classmethod
    def of(cls, deployment: Deployment, key: str, options: Options | None) -> _Value:
        value = getattr(deployment, key)
        if key not in left_to_code(deployment):
            return cls(value)
        if options is None:
            return cls(value, " (unless the code says otherwise)", left=True)
        if key in options:
            return cls(options[key], " (by the code)", left=True)
        return cls(value, " (by default)", left=True)

    @property
    def is_mapping(self) -> bool:
        return self.value is None or isinstance(self.value, Mapping) or hasattr(self.value, "model_dump")


def _plain(value: Any) -> dict[str, Any]:
    return value.model_dump() if hasattr(value, "model_dump") else dict(value or {})


def _inside(path: tuple[str | int, ...], before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what changed in a mapping, key by key."""
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key) or (key in before) != (key in after):
            yield _changed((*path, key), before.get(key, _ABSENT), after.get(key, _ABSENT))


def _cache(old: Config, new: Config, deployment: Deployment) -> Iterator[tuple[Action, str]]:
    """Yield what changed in the cache, for a deployment that uses it."""
    if deployment.s3 is None:
        return
    for key in type(new.cache).model_fields:
        if (before := getattr(old.cache, key)) != (after := getattr(new.cache, key)):
            yield "restart", _changed(("cache", key), before, after)


def _code(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[Action, str]]:
    for verb, files in (
        ("changed", [file for file in new if file in old and old[file] != new[file]]),
        ("added", [file for file in new if file not in old]),
        ("no longer used", [file for file in old if file not in new]),
    ):
        if len(files) > 3:
            yield "restart", f"{files[0]} and {len(files) - 1} more files {verb}"
        elif files:
            yield "restart", f"{' and '.join(files)} {verb}"


_ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "nothing"})()


def _changed(path: tuple[str | int, ...], before: Any, after: Any, note_before: str = "", note_after: str = "") -> str:
    """Return ``port 8000 → 8001``; ``admin_token changed`` for what is secret or long."""
    start = 2 if path[0] == "deployments" else 1 if path[0] == "http" else 0
    name = ".".join(str(part) for part in path[start:])
    if before is _ABSENT:
        verb = "added"
    elif after is _ABSENT:
        verb = "removed"
    else:
        verb = "changed"
    was, becomes = _shown(name, before), _shown(name, after)
    shown = f"{was}{note_before} → {becomes}{note_after}"
    if verb == "changed" and not _hidden(path) and len(f"{was} → {becomes}") <= _LONGEST:
        return f"{name} {shown}"
    return f"{name} {verb}"


def _hidden(path: tuple[str | int, ...]) -> bool:
    return is_secret(path) or is_named_secret(path)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if "_bytes" in name and isinstance(value, int):
        return format_size(value)
    if name.endswith("_s") and isinstance(value, float):
        return format_duration(value)
    return repr(value) if isinstance(value, list | dict) or value == "" else str(value)
