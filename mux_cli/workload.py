"""What ``mux simulate`` and ``mux plan`` both ask for: the traffic, the pool, and how long things take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mux_cli.exits import UsageProblem

if TYPE_CHECKING:
    from runtime.config import Deployment
    from runtime.simulate.arrivals import Trace
    from runtime.simulate.measured import Measured
    from runtime.simulate.shape import Shape, Span

_TRAFFIC = "Traffic"
_POOL = "Pool"

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[CONFIG]", help="A file, or a folder with a mux.yaml, that says what the pool is like."),
]
DeploymentOption = Annotated[
    str, typer.Option("--deployment", metavar="NAME", help="Which one, of the config and in the trace.")
]
TraceOption = Annotated[
    Path | None,
    typer.Option(
        "--trace", metavar="PATH", help="Recorded traffic: a router's log (file or folder), JSON lines, or time,model."
    ),
]
ZipfOption = Annotated[
    float | None,
    typer.Option("--zipf", min=0.0, metavar="S", help="Draw traffic: the model of rank r has weight r^-S; 0: uniform."),
]
ModelsOption = Annotated[int, typer.Option("--models", min=1, metavar="N", help="How many models --zipf draws from.")]
HotOption = Annotated[
    float,
    typer.Option("--hot", min=0.0, max=1.0, metavar="SHARE", help="The share of requests for one more, hot model."),
]
ScanOption = Annotated[
    float,
    typer.Option("--scan", min=0.0, max=1.0, metavar="SHARE", help="The share whose models are never asked for again."),
]
DriftOption = Annotated[
    int, typer.Option("--drift", min=0, metavar="N", help="Every N requests the ranks move on by one model.")
]
RateOption = Annotated[
    float | None,
    typer.Option("--rate", min=0.001, metavar="R", help="Requests a second, at random moments (Poisson)."),
]
ClientsOption = Annotated[
    int | None,
    typer.Option("--clients", min=1, metavar="C", help="Instead: C clients that ask again once they are answered."),
]
RequestsOption = Annotated[
    int | None,
    typer.Option("--requests", "-n", min=1, metavar="N", help="How many; default: 10000, or all of the trace."),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="The same seed draws the same run.")]
ReplicasOption = Annotated[
    int | None, typer.Option("--replicas", min=1, max=10_000, metavar="N", help="Replicas in the pool.")
]
SlotsOption = Annotated[
    int | None, typer.Option("--slots", min=-1, metavar="M", help="Models that one replica holds; -1: unlimited.")
]
PlacesOption = Annotated[
    int | None, typer.Option("--places", min=1, metavar="P", help="Requests that one replica works on at once.")
]
RoutersOption = Annotated[int | None, typer.Option("--routers", min=1, max=64, metavar="N", help="Routers.")]
LoadsOption = Annotated[
    int | None, typer.Option("--max-concurrent-loads", min=1, metavar="N", help="Loads at once in one replica.")
]
LoadTimeOption = Annotated[
    str, typer.Option("--load-s", metavar="S[..S]", help="Seconds a load takes; a range is spread over the models.")
]
WorkTimeOption = Annotated[
    str, typer.Option("--work-s", metavar="S[..S]", help="Seconds a request takes; a range is drawn for each.")
]
PolicyOption = Annotated[
    str | None, typer.Option("--policy", metavar="NAME", help="The eviction policy; default: the config's, else lru.")
]
PoliciesOption = Annotated[
    list[str] | None, typer.Option("--policy", metavar="NAME", help="Only this one; may be repeated. Default: all.")
]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked for by ``--trace``, ``--zipf`` and their companions."""

    trace: Path | None
    zipf: float | None
    models: int
    hot: float
    scan: float
    drift: int
    rate: float | None
    clients: int | None
    requests: int | None
    seed: int
    deployment: str

    def to_trace(self) -> Trace:
        """Return the requests. Raises ``UsageProblem``, ``TraceError``."""
        from runtime.simulate.arrivals import First
        from runtime.simulate.synthetic import Mix, Retimed, Synthetic
        from runtime.simulate.trace import Recorded

        self._check()
        if self.trace is None:
            mix = Mix(self.models, self.zipf or 0.0, self.hot, self.scan, self.drift)
            return Synthetic(mix, count=self.requests or 10_000, rate=self.rate or 1.0, seed=self.seed)
        trace: Trace = Recorded(self.trace, deployment=self.deployment)
        trace = trace if self.requests is None else First(trace, self.requests)
        return trace if self.rate is None else Retimed(trace, rate=self.rate, seed=self.seed)

    def _check(self) -> None:
        if (self.trace is None) == (self.zipf is None):
            raise UsageProblem(
                "Say what the traffic is.",
                hint="Either --trace PATH, or --zipf 1.0 --models 64 with --rate or --clients.",
            )
        if self.trace is not None and not self.trace.exists():
            raise UsageProblem(f"There is no trace {str(self.trace)!r}.")
        if self.rate is not None and self.clients is not None:
            raise UsageProblem("--rate and --clients exclude each other.")
        if self.trace is None and self.rate is None and self.clients is None:
            raise UsageProblem("When do the requests come?", hint="Add --rate 200 (a second) or --clients 16.")
        if self.hot + self.scan > 1.0:
            raise UsageProblem("--hot and --scan together are more than all requests.")

    def measured(self) -> Measured | None:
        """Return what a recorded trace tells of load and work times."""
        from runtime.simulate.measured import measured

        return measured(self.trace, deployment=self.deployment) if self.trace is not None else None


def span(text: str, option: str) -> Span | None:
    """Return a written duration; None for an empty text. Raises ``UsageProblem``."""
    from runtime.simulate.shape import Span

    if not text:
        return None
    try:
        return Span.parse(text)
    except ValueError as exc:
        raise UsageProblem(
            f"{option} {text!r} is no duration.", hint="Write seconds: 0.5, or a range: 0.1..3."
        ) from exc


def deployment_of(config: Path | None, name: str) -> tuple[Deployment | None, int]:
    """Return the deployment that a config describes, and how many routers it has; (None, 1) without a config."""
    import os

    from mux_cli.projects import config_path
    from runtime.config import load_config

    if config is None:
        return None, 1
    loaded = load_config(config_path(config, None), os.environ, check_code=False).config
    names = [deployment.name for deployment in loaded.deployments]
    if not name and len(names) > 1:
        raise UsageProblem(f"Which one: {', '.join(names)}?", hint=f"Add --deployment {names[0]}.")
    found = loaded.deployment(name or names[0])
    if found is None:
        raise UsageProblem(f"{config} has no deployment {name!r}; it has {', '.join(names)}.")
    return found, loaded.http.routers


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed about the pool; None or empty where nothing was."""

    replicas: int | None
    slots: int | None
    places: int | None
    routers: int | None
    max_concurrent_loads: int | None
    load_s: str
    work_s: str
    eviction: str | None = None

    def values(self) -> dict[str, Any]:
        """Return what was typed, by the names of ``Shape``. Raises ``UsageProblem``."""
        if self.slots == 0:
            raise UsageProblem("A replica without a slot serves no model.", hint="--slots 1 or more; -1: unlimited.")
        whole = {
            "replicas": self.replicas,
            "slots": self.slots,
            "places": self.places,
            "routers": self.routers,
            "max_concurrent_loads": self.max_concurrent_loads,
            "load_s": span(self.load_s, "--load-s"),
            "work_s": span(self.work_s, "--work-s"),
            "eviction": policy(self.eviction) if self.eviction is not None else None,
        }
        return {name: value for name, value in whole.items() if value is not None}


def policy(name: str) -> str:
    """Return the name of an eviction policy. Raises ``UsageProblem`` if there is none of that name."""
    from runtime.core.eviction import POLICIES

    if name not in POLICIES:
        raise UsageProblem(f"There is no policy '{name}'.", hint=f"There are {', '.join(POLICIES)}.")
    return name


def shape_of(config: Path | None, traffic: Traffic, typed: Typed) -> Shape:
    """Return the pool: what was typed, else what the config says, else what the logs tell, else a default."""
    from runtime.simulate.shape import Shape, Span

    given = typed.values()
    found, routers = deployment_of(config, traffic.deployment)
    known: dict[str, Any] = {"routers": routers} | (_of_config(found) if found is not None else {})
    measured = traffic.measured()
    if measured is not None:
        known |= {"load_s": Span(measured.load_s)} if measured.load_s is not None else {}
        known |= {"work_s": Span(measured.work_s)} if measured.work_s is not None else {}
        known["model_bytes"] = measured.model_bytes
    return Shape(**known | given)


def _of_config(deployment: Deployment) -> dict[str, Any]:
    slots = deployment.max_num_models_per_replica
    if isinstance(slots, dict):
        raise UsageProblem(
            f"{deployment.name} has several loaders.",
            hint="One cache is simulated; leave the config out and say --slots.",
        )
    return {
        "replicas": deployment.num_replicas,
        "slots": 3 if slots is None else slots,
        "places": deployment.max_ongoing_requests,
        "max_bytes": deployment.max_model_bytes_per_replica,
        "max_queued_requests": deployment.max_queued_requests,
        "max_concurrent_loads": deployment.max_concurrent_loads,
        "eviction": deployment.eviction,
        "swap_wait_s": deployment.swap_wait_s,
        "drain_limit_s": deployment.drain_limit_s,
        "idle_unload_s": deployment.idle_unload_s,
        "load_timeout_s": deployment.load_timeout_s,
        "preload": tuple(deployment.preload),
        "pin": tuple(deployment.pin),
        "copies": deployment.copies,
    }
