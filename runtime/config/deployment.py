"""One deployment: where its code is, how many replicas, what they may hold and how long things may take."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from runtime.config.fields import (
    Count,
    EnvName,
    ImportPath,
    Name,
    PositiveSeconds,
    Seconds,
    Secret,
    Section,
    Size,
    Text,
    fail,
)

DEFAULT_CAP = 3  # of models in one replica, where neither the file nor a decorator says


class S3(Section):
    """How to reach S3. What is not set here comes from the AWS_* variables and ~/.aws, as in every AWS tool."""

    endpoint_url: Text | None = None
    """The address of an S3-compatible store, as http://minio:9000; null: AWS."""
    region: Text | None = None
    """The region; null: AWS_REGION, AWS_DEFAULT_REGION or the profile's."""
    profile: Text | None = None
    """The profile in ~/.aws to take credentials from; null: AWS_PROFILE."""
    access_key_id: Text | None = None
    """The access key's id; null: from the AWS_* variables or the profile."""
    secret_access_key: Annotated[Text | None, Secret()] = Field(default=None, repr=False)
    """The secret key; write ${VAR}, never the key itself. Never shown."""
    session_token: Annotated[Text | None, Secret()] = Field(default=None, repr=False)
    """The token of temporary credentials; write ${VAR}. Never shown."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise fail("pair", "access_key_id and secret_access_key go together")
        return self


def _cap(value: int) -> int:
    if value == -1 or value >= 1:
        return value
    raise fail("cap", f"{value} is not a number of models; write 1 or more, or -1 for unlimited")


def _caps_form(value: Any) -> str:
    return "methods" if isinstance(value, dict) else "number"


def _queue(value: int) -> int:
    if value >= -1:
        return value
    raise fail("queue", f"{value} is not a queue length; write 0 or more, or -1 for no limit of its own")


def _route(value: str) -> str:
    if not value.startswith("/"):
        raise fail("route", f"{value!r} must start with '/'")
    if value != "/" and value.endswith("/"):
        raise fail("route", f"{value!r} must not end with '/'; write {value.rstrip('/') or '/'!r}")
    if value == "/-" or value.startswith("/-/"):
        raise fail("route", f"{value!r} is taken: mux itself answers under '/-/'")
    if "//" in value or any(c in "?#{}%*\\" or c.isspace() or not c.isprintable() for c in value):
        raise fail("route", f"{value!r} is not a plain path prefix; use '/name' or '/name/name'")
    return value


_cap_schema = WithJsonSchema({"anyOf": [{"const": -1}, {"type": "integer", "minimum": 1}]})
Cap = Annotated[int, AfterValidator(_cap), _cap_schema]
CapOfMethod = Annotated[dict[Text, Cap], Field(min_length=1)]
Caps = Annotated[Annotated[Cap, Tag("number")] | Annotated[CapOfMethod, Tag("methods")], Discriminator(_caps_form)]
Queue = Annotated[int, AfterValidator(_queue), WithJsonSchema({"type": "integer", "minimum": -1})]
Route = Annotated[str, AfterValidator(_route), Field(json_schema_extra={"pattern": "^/"})]


class Deployment(Section):
    """Replicas that run one piece of user code; either ``import_path`` or ``loader`` says which."""

    name: Name
    """Its name in logs, commands and metrics; one of a kind in the file."""
    application: Name = "default"
    """The application that it belongs to; shown in logs."""
    import_path: ImportPath | None = None
    """Class style: 'module:name' of a @serve.deployment class or of a bound application (Model.bind())."""
    loader: ImportPath | None = None
    """Loader style: 'module:name' of load_model(model_id) or load_model(model_id, path); sync or async."""
    handler: ImportPath | None = None
    """With loader: 'module:name' of predict(model, request); null: the model is called with the JSON body's inputs."""
    unloader: ImportPath | None = None
    """With loader: 'module:name' of unload_model(model) or unload_model(model, model_id): once per model."""
    source: Text | None = None
    """With loader: where a model's file lies, './models/{model_id}/model.pt' (from this file's folder) or
    's3://bucket/{model_id}/model.pt', or its whole folder if it ends with '/'; the loader is given a local path."""
    s3: S3 | None = None
    """S3 settings of this deployment alone; each key goes before the same key of the file's own s3."""
    route_prefix: Route | None = "/"
    """The path it answers under, with all below it; the longest prefix wins. null: only handles reach it."""
    num_replicas: Annotated[int, Field(ge=1, le=1024)] = 1
    """How many processes run it."""
    max_num_models_per_replica: Caps | None = None
    """How many models one replica holds at once; -1: unlimited; {method: n} with several loaders in one class.
    null: what the decorator says, else 3."""
    max_model_bytes_per_replica: Size | None = None
    """How many bytes of models one replica holds at once; null: no budget."""
    max_ongoing_requests: Count = 5
    """How many requests one replica works on at once."""
    max_queued_requests: Queue = -1
    """How many requests may wait in a router; more are answered 503. -1: no limit of its own."""
    max_buffered_body_bytes: Size = 64 * 2**20
    """The largest body that is held in memory where all of it is needed at once; more is answered 413."""
    max_concurrent_loads: Count = 4
    """How many models one replica loads at once."""
    eviction: Literal["lru", "lfu", "gdsf"] = "lru"
    """Which idle model goes first: the least recently used; lfu: the least often used, with ageing, for skewed and
    steady traffic; gdsf: that, times its measured load time per byte, where load times or sizes differ by a lot."""
    load: Literal["early", "on_call"] = "early"
    """early: a model is loaded before user code runs. on_call: when user code asks for it."""
    preload: list[Text] = Field(default=[])
    """Models that are loaded before a replica is ready."""
    pin: list[Text] = Field(default=[])
    """Models that are loaded before a replica is ready and never evicted."""
    copies: Count | None = None
    """How many replicas hold each pinned and preloaded model; null: every one."""
    swap_wait_s: Seconds = 1.0
    """How long a model waits for a slot before one in steady use must yield."""
    drain_limit_s: Seconds = 30.0
    """How long a yielding model waits for its running requests before another must yield instead."""
    idle_unload_s: PositiveSeconds | None = None
    """Unload a model that was not used for so long; null: never."""
    load_timeout_s: PositiveSeconds = 300.0
    """How long one load may take."""
    request_timeout_s: PositiveSeconds | None = None
    """How long a request may take, waiting included; 408 after it. null: http.request_timeout_s."""
    graceful_shutdown_timeout_s: Seconds = 20.0
    """How long a stopping replica may finish what it runs."""
    health_check_period_s: PositiveSeconds = 10.0
    """How often a replica is asked for its health."""
    health_check_timeout_s: PositiveSeconds = 30.0
    """How long a replica may leave a ping unanswered before it gets nothing new. It is replaced after the longer of
    three times this and load_timeout_s, since a load may hold the interpreter."""
    max_surge: Annotated[int, Field(ge=0, le=1)] = 1
    """1: a rolling update starts the new replica before the old one stops. 0: the old one stops first."""
    user_config: dict[str, Any] = Field(default={})
    """Given to reconfigure(user_config); a change of it needs no restart."""
    env: dict[EnvName, str] = Field(default={})
    """Environment variables of the replicas, over those of the deploying shell. Values are never shown."""
    torch_threads: Count | None = None
    """PyTorch threads of one replica; null: the machine's cores divided by num_replicas."""
    executor_threads: Count | None = None
    """Threads that run sync user code in one replica; null: max_ongoing_requests."""

    def settled(self) -> Self:
        """Return this with the cap that null stands for, where no decorator decides: to compare what is meant."""
        if self.loader is None or self.max_num_models_per_replica is not None:
            return self
        return self.model_copy(update={"max_num_models_per_replica": DEFAULT_CAP})

    def to_spec(self) -> dict[str, Any]:
        """Return every key as JSON, and under ``written`` which of them the file names: those go before the code's."""
        return {**self.model_dump(mode="json"), "written": sorted(self.model_fields_set)}
