"""The configuration as frozen models: every key, its default and its meaning."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from runtime.config.deployment import S3, Deployment
from runtime.config.fields import Name, PositiveSeconds, Secret, Section, Size, Text, fail

__all__ = ["S3", "Cache", "Config", "Deployment", "Http", "ModelIdConfig"]

DEFAULT_ID_PATTERN = "[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"
MAX_ID_LENGTH = 200


class Http(Section):
    """The public address, and what a request may be."""

    host: Text = "127.0.0.1"
    """The address to listen on. Any other than loopback needs an admin_token."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0: a free one, which `mux status` shows."""
    routers: Annotated[int, Field(ge=1, le=64)] = 1
    """How many router processes share the port."""
    cpu_latency_us: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How long idle processors may take to wake while requests come, in microseconds: a bound on the whole machine
    (Linux's PM QoS), which mux must have the right to set. 0: they poll, quick and warm. null: as the machine does."""
    request_timeout_s: PositiveSeconds | None = None
    """How long a request may take, waiting included; 408 after it. null: as long as it likes."""
    max_body_bytes: Size = 2**30
    """The largest request body, streamed or not; more is answered 413."""
    admin_token: Annotated[Text | None, Secret()] = Field(default=None, repr=False)
    """Who sends it (authorization: Bearer ...) may use the admin verbs over HTTP; write ${MUX_ADMIN_TOKEN}.
    null: they are for the control socket only. Never shown."""


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise fail("pattern", f"{value!r} is not a regular expression: {exc}") from exc
    return value


def _header(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", value) is None:
        raise fail("header", f"{value!r} is not a header name; use letters, digits, '_' and '-'")
    return value


def _path(value: str) -> str:
    if not value.startswith("/") or value.count("{model_id}") != 1:
        raise fail("path", f"{value!r} must start with '/' and hold {{model_id}} once, as '/models/{{model_id}}'")
    return value


class ModelIdConfig(Section):
    """Where a request names its model: the header, else query, else path, else json_field."""

    header: Annotated[Text, AfterValidator(_header)] = "serve_multiplexed_model_id"
    """The request header with the model id; '-' equals '_', in any case."""
    query: Text | None = None
    """A query parameter with the model id, as 'model' for /?model=3; null: none."""
    path: Annotated[Text, AfterValidator(_path)] | None = None
    """Where the path below the route holds the model id, as '/models/{model_id}/predict'; null: nowhere."""
    json_field: Text | None = None
    """A field of the JSON body with the model id, as 'model' or 'meta.model'; the body is then held in memory
    and parsed. null: none, and bodies are never parsed."""
    pattern: Annotated[Text, AfterValidator(_pattern)] = DEFAULT_ID_PATTERN
    """What a whole model id must match; beside it: at most 200 characters, no '..', no leading '/'."""

    def refuse(self, model_id: str) -> str:
        """Return why ``model_id`` is not allowed, as the end of a sentence; empty if it is."""
        if len(model_id) > MAX_ID_LENGTH:
            return f"is longer than {MAX_ID_LENGTH} characters"
        if ".." in model_id:
            return "contains '..'"
        if model_id.startswith("/"):
            return "starts with '/'"
        if not model_id.isprintable():
            return "contains a control character"
        if re.fullmatch(self.pattern, model_id) is None:
            return f"does not match {self.pattern}"
        return ""


class Cache(Section):
    """Downloaded model files on disk, shared by all replicas of the machine."""

    max_bytes: Size = 10 * 2**30
    """How much disk it may use; the files used longest ago go first."""
    dir: Text | None = None
    """Its folder, from this file's folder if relative; null: in mux's own state folder."""


class Config(Section):
    """One YAML file: a whole project."""

    name: Name = "mux"
    """The project's name; default: the name of the file's folder."""
    http: Http = Http()
    """The public address, and what a request may be."""
    model_id: ModelIdConfig = ModelIdConfig()
    """Where a request names its model."""
    s3: S3 = S3()
    """S3 settings for every deployment with an s3:// source."""
    cache: Cache = Cache()
    """Downloaded model files on disk."""
    deployments: Annotated[list[Deployment], Field(min_length=1)]
    """What runs."""

    @model_validator(mode="after")
    def _hand_down_s3(self) -> Self:
        """Give each deployment with an S3 source its whole settings: a replica sees only its own deployment."""
        for index, deployment in enumerate(self.deployments):
            if deployment.source and deployment.source.startswith("s3://"):
                own = deployment.s3 or S3()
                whole = {key: getattr(own, key) or getattr(self.s3, key) for key in S3.model_fields}
                self.deployments[index] = deployment.model_copy(update={"s3": S3(**whole)})
        return self

    def deployment(self, name: str) -> Deployment | None:
        """Return the deployment called ``name``; None if there is none."""
        return next((d for d in self.deployments if d.name == name), None)
