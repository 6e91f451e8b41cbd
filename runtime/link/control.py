"""The words between the supervisor and its children, over an inherited socket pair: one JSON object a line.

The supervisor spawns a child with the number of its end of the socket pair and of a liveness pipe in the child's
``ChildSpec``. The child answers with ``Ready`` or ``Failed``; readiness is this handshake, never a wait.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RouteEntry(msgspec.Struct, tag="route", kw_only=True):
    """One deployment as the router needs it.

    ``deployment`` is what holds, of the file or the code; the keys that only replicas use are left out.
    """

    name: str
    application: str = "default"
    route_prefix: str | None = "/"
    deployment: dict[str, Any]


class ReplicaEntry(msgspec.Struct, kw_only=True):
    """One replica that the router shall hold a link to. ``state``: up, suspect (silent: nothing new) or draining."""

    id: str
    deployment: str
    index: int
    address: str  # "unix:/path" or "tcp:host:port"
    token: str = ""
    state: str = "up"


class ChildSpec(msgspec.Struct, kw_only=True):
    """What a child reads at start: a JSON file of mode 0600, its path in ``--spec``."""

    role: str  # "router" | "replica"
    name: str  # "router-0" | "Model#EjYmnQ"; also the folder name of its logs with '#' as '-'
    project: str
    config_dir: str  # goes to the front of sys.path in a replica; also its working directory
    log_dir: str
    control_fd: int
    liveness_fd: int
    parent_pid: int = 0  # the supervisor's, where it is the parent: for watch_parent
    generation: int = 1
    # router
    listen_fds: list[int] = []
    http: dict[str, Any] = {}
    model_id: dict[str, Any] = {}
    admin_token: str = ""
    # both: where calls come in that are not made over a router's own link, as those of scripts: "unix:/path"
    calls_address: str = ""
    calls_token: str = ""
    # replica
    deployment: dict[str, Any] = {}
    application: str = "default"
    index: int = 0
    replicas: int = 1
    address: str = ""
    token: str = ""
    cache_dir: str = ""
    cache_max_bytes: int = 0  # of the whole machine's cache; 0: the store's own default
    preload: list[str] = []  # beyond the config's own: what the outgoing replica held, in a rolling restart


# --- supervisor → child ---------------------------------------------------------------------------------


class Table(msgspec.Struct, tag="table", kw_only=True):
    """To a router: the whole truth. Idempotent; answered by ``Applied`` once every ``up`` replica is connected."""

    generation: int
    routes: list[RouteEntry]
    replicas: list[ReplicaEntry]


class Drain(msgspec.Struct, tag="drain", kw_only=True):
    """Finish what runs within ``deadline_s``, unload every model, then exit 0."""

    deadline_s: float


class Ping(msgspec.Struct, tag="ping", kw_only=True):
    """``health``: also run the user's check_health."""

    seq: int
    health: bool = False


class Reconfigure(msgspec.Struct, tag="reconfigure", kw_only=True):
    """To a replica: a new ``user_config`` and limits, without a restart. Answered by ``Answer``."""

    id: int
    deployment: dict[str, Any]


class Query(msgspec.Struct, tag="query", kw_only=True):
    """``what``: status, models, load, unload, pin, unpin, explain, stacks. Answered by ``Answer``.

    ======================= ======================================== =======================================
    what                    args                                     ``Answer.data``
    ======================= ======================================== =======================================
    status, to a replica                                             {in_flight, queued, slots: int, models: [id]}
    status, to a router                                              {requests: int, queued: {deployment: int}}
    models                  {deployment}; empty: all                 {models: [fields of ``api.ModelInfo``]}; a
                                                                     router lists only what waits (replica empty)
    load unload pin unpin   {models: [id], deployment}               {models: [...]} of what changed; ``load`` to
                                                                     a router: where its ranking says
    explain                 {request_id} or {model}                  {lines: [str], records: [{at: unix s, line:
                                                                     str, ...}]}; both empty: it knows nothing
    stacks                                                           {stacks: str}
    ======================= ======================================== =======================================
    """

    id: int
    what: str
    args: dict[str, Any] = {}


# --- child → supervisor ---------------------------------------------------------------------------------


class Ready(msgspec.Struct, tag="ready", kw_only=True):
    """``detail["options"]``, of a replica: what its code says of the keys that the file may leave to it."""

    detail: dict[str, Any] = {}


class Failed(msgspec.Struct, tag="failed", kw_only=True):
    """It could not start. ``stage``: import, init, preload, bind. ``traceback`` starts in the user's file."""

    stage: str
    message: str
    traceback: str = ""


class Progress(msgspec.Struct, tag="progress", kw_only=True):
    """What it is doing, for the deploy display: stage and a short sentence, fraction 0..1 where known."""

    stage: str
    message: str
    fraction: float | None = None


class Applied(msgspec.Struct, tag="applied", kw_only=True):
    generation: int


class Pong(msgspec.Struct, tag="pong", kw_only=True):
    seq: int
    healthy: bool = True
    message: str = ""


class Answer(msgspec.Struct, tag="answer", kw_only=True):
    id: int
    ok: bool = True
    message: str = ""
    data: Any = None


class FaultNotice(msgspec.Struct, tag="fault", kw_only=True):
    """The child cannot go on; the supervisor restarts it."""

    why: str


ToChild = Table | Drain | Ping | Reconfigure | Query
FromChild = Ready | Failed | Progress | Applied | Pong | Answer | FaultNotice
