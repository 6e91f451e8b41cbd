"""What no single key can know: names and routes that clash, keys that need or exclude each other, missing code."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.config.deployment import DEFAULT_CAP
from runtime.config.document import Document
from runtime.config.document import Path as KeyPath
from runtime.config.fields import IMPORT_PATTERN
from runtime.config.models import Deployment, Http, ModelIdConfig
from runtime.config.modules import code_fault
from runtime.config.problems import Problem
from runtime.config.suggest import did_you_mean

MIN_TOKEN_LENGTH = 16
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Parts:
    """The sections that are right by themselves; None and left-out indexes stand for those that are not."""

    http: Http | None
    model_id: ModelIdConfig | None
    deployments: dict[int, Deployment]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at ``path``; ``at_key`` points to the key instead of the value."""

    path: KeyPath
    message: str
    hint: str = ""
    at_key: bool = False


def check(parts: Parts, document: Document, folder: Path | None) -> list[Problem]:
    """Return what is wrong across keys. ``folder`` is where import paths start; None leaves the code alone."""
    findings = [*_http(parts.http), *_names(document), *_routes(parts.deployments, document)]
    for index, deployment in parts.deployments.items():
        root: KeyPath = ("deployments", index)
        for rule in _RULES:
            findings += rule(deployment, root)
        if parts.model_id is not None:
            findings += _ids(deployment, root, parts.model_id)
    if folder is not None:
        findings += _code(document, folder)
    return [_place(finding, document) for finding in findings]


def _place(finding: Finding, document: Document) -> Problem:
    positions = document.positions
    span = positions.key(finding.path) if finding.at_key else positions.value(finding.path)
    return document.problem(span, finding.message, finding.hint)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _http(http: Http | None) -> Iterator[Finding]:
    if http is None:
        return
    if http.admin_token is None and not is_loopback(http.host):
        yield Finding(
            ("http", "host"),
            f"http.host {http.host!r} can be reached from other machines, and there is no admin token",
            "write 'admin_token: ${MUX_ADMIN_TOKEN}' under 'http' and "
            "`export MUX_ADMIN_TOKEN=$(openssl rand -hex 16)`, or listen on 127.0.0.1",
        )
    if http.admin_token is not None and len(http.admin_token) < MIN_TOKEN_LENGTH:
        message = f"http.admin_token must have at least {MIN_TOKEN_LENGTH} characters"
        yield Finding(("http", "admin_token"), message, "make one with `openssl rand -hex 16`")


def _written(document: Document) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the deployments as they are written, right or wrong, so that one mistake does not hide another."""
    listed = document.data.get("deployments")
    for index, raw in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(raw, dict):
            yield index, raw


def _names(document: Document) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, raw in _written(document):
        name = raw.get("name")
        if isinstance(name, str) and (first := seen.setdefault(name, index)) != index:
            line = document.positions.value(("deployments", first, "name")).line
            message, hint = f"two deployments are called {name!r}", f"the first is on line {line}"
            yield Finding(("deployments", index, "name"), message, hint)


def _routes(deployments: dict[int, Deployment], document: Document) -> Iterator[Finding]:
    """Routes are one of a kind. '/' beside '/a' is no clash: the longest prefix wins."""
    seen: dict[str, int] = {}
    for index, deployment in deployments.items():
        route = deployment.route_prefix
        if route is None or (first := seen.setdefault(route, index)) == index:
            continue
        path: KeyPath = ("deployments", index, "route_prefix")
        written = path in document.positions.values
        yield Finding(
            path if written else ("deployments", index, "name"),
            f"{deployment.name!r} has the route {route!r}, as {deployments[first].name!r} has",
            "choose another" if written else "set its route_prefix, to null if only handles reach it",
        )


def _style(deployment: Deployment, root: KeyPath) -> Iterator[Finding]:
    name = repr(deployment.name)
    if deployment.import_path and deployment.loader:
        hint = "keep import_path for a class, loader for a function"
        yield Finding((*root, "loader"), f"{name} has both import_path and loader", hint, at_key=True)
    if not deployment.import_path and not deployment.loader:
        hint = "write 'loader: module:function' or 'import_path: module:name'"
        yield Finding((*root, "name"), f"{name} has neither import_path nor loader", hint)
    if not deployment.loader:
        for key in ("handler", "unloader", "source"):
            if getattr(deployment, key):
                message, hint = f"{key} is of use only with loader", "a class does this itself"
                yield Finding((*root, key), message, hint if deployment.import_path else "", at_key=True)


def _source(deployment: Deployment, root: KeyPath) -> Iterator[Finding]:
    source = deployment.source
    if source is None:
        if deployment.s3 is not None:
            yield Finding((*root, "s3"), "s3 is of use only with an s3:// source", at_key=True)
        return
    path = (*root, "source")
    if source.startswith("s3:") and not source.startswith("s3://"):
        yield Finding(path, f"source {source!r} is no path", f"did you mean {'s3://' + source[3:].lstrip('/')!r}?")
        return
    scheme, separator, rest = source.partition("://")
    if separator and scheme not in ("s3", "file"):
        hint = did_you_mean(scheme, ["s3", "file"]) or "write a path or s3://bucket/key"
        yield Finding(path, f"source has the unknown scheme {scheme + '://'!r}", hint)
    elif separator and scheme == "s3":
        bucket, _, key = rest.partition("/")
        if not bucket or "{" in bucket or not key:
            yield Finding(path, "source must name its bucket", "as in 's3://bucket/{model_id}/model.pt'")
    elif deployment.s3 is not None:
        yield Finding((*root, "s3"), "s3 is of use only with an s3:// source", at_key=True)
    yield from _template(source, path)


def _template(source: str, path: KeyPath) -> Iterator[Finding]:
    names = _PLACEHOLDER.findall(source)
    for name in names:
        if name != "model_id":
            yield Finding(path, f"source has the unknown placeholder {{{name}}}", "the only one is {model_id}")
    if not names:
        hint = "as in './models/{model_id}/model.pt'"
        yield Finding(path, "source must hold {model_id}, or every id would get the same file", hint)
    elif set("{}") & set(_PLACEHOLDER.sub("", source)):
        yield Finding(path, "source has a brace without its other half", "the only placeholder is {model_id}")
    if ".." in source.partition("{model_id}")[2].split("/"):
        yield Finding(path, "source has '..' after {model_id}", "write the path without it")


def _models(deployment: Deployment, root: KeyPath) -> Iterator[Finding]:
    cap = deployment.max_num_models_per_replica
    if isinstance(cap, dict) and deployment.loader:
        message = "max_num_models_per_replica must be a number with loader: it has one cache"
        yield Finding((*root, "max_num_models_per_replica"), message)
        return
    if isinstance(cap, dict) and len(cap) > 1 and (deployment.pin or deployment.preload):
        key = "pin" if deployment.pin else "preload"
        yield Finding((*root, key), f"{key} needs exactly one loader, but there are {len(cap)}")
    lowest = min((n for n in cap.values() if n > 0), default=-1) if isinstance(cap, dict) else cap
    if lowest is None:
        lowest = DEFAULT_CAP if deployment.loader else -1  # a decorator may say something else
    if lowest > 0 and (held := _held(deployment, len(set(deployment.pin)))) >= lowest:
        yield Finding(
            (*root, "pin"),
            f"a replica would pin {held} models and can hold {lowest}: no other model could ever be loaded",
            f"pin fewer, or set max_num_models_per_replica to {held + 1} or more",
        )
    elif lowest > 0 and (held := _held(deployment, len({*deployment.pin, *deployment.preload}))) > lowest:
        message = f"a replica would preload {held} models and can hold {lowest}"
        hint = "preload fewer, or raise max_num_models_per_replica"
        yield Finding((*root, "preload" if deployment.preload else "pin"), message, hint)
    if deployment.copies is not None and deployment.copies > deployment.num_replicas:
        message = f"copies is {deployment.copies}, but num_replicas is {deployment.num_replicas}"
        yield Finding((*root, "copies"), message, "remove it to have a copy on every replica")


def _held(deployment: Deployment, models: int) -> int:
    """Return how many of ``models`` the fullest replica holds, at the least."""
    copies = min(deployment.copies or deployment.num_replicas, deployment.num_replicas)
    return -(-models * copies // deployment.num_replicas)


def _ids(deployment: Deployment, root: KeyPath, model_id: ModelIdConfig) -> Iterator[Finding]:
    for key in ("preload", "pin"):
        seen: set[str] = set()
        for index, model in enumerate(getattr(deployment, key)):
            if why := model_id.refuse(model):
                yield Finding((*root, key, index), f"the model id {model!r} {why}")
            if model in seen:
                yield Finding((*root, key, index), f"the model id {model!r} is listed twice")
            seen.add(model)


def _code(document: Document, folder: Path) -> Iterator[Finding]:
    for index, raw in _written(document):
        for key in ("import_path", "loader", "handler", "unloader"):
            target = raw.get(key)
            if not isinstance(target, str) or re.fullmatch(IMPORT_PATTERN, target) is None or ".py:" in target:
                continue
            if fault := code_fault(target, folder):
                path: KeyPath = ("deployments", index, key)
                yield Finding(path, f"{key} {target!r}: {fault.message}", fault.hint)


_RULES: tuple[Callable[[Deployment, KeyPath], Iterator[Finding]], ...] = (_style, _source, _models)
