"""``mux simulate``: run traffic through a simulated pool, per eviction policy, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mux_cli.options import JsonOption, command, examples
from mux_cli.workload import (
    ClientsOption,
    ConfigArgument,
    DeploymentOption,
    DriftOption,
    HotOption,
    LoadsOption,
    LoadTimeOption,
    ModelsOption,
    PlacesOption,
    PoliciesOption,
    RateOption,
    ReplicasOption,
    RequestsOption,
    RoutersOption,
    ScanOption,
    SeedOption,
    SlotsOption,
    TraceOption,
    Traffic,
    Typed,
    WorkTimeOption,
    ZipfOption,
    policy,
    shape_of,
)

if TYPE_CHECKING:
    from runtime.simulate.arrivals import Trace
    from runtime.simulate.faults import Faults
    from runtime.simulate.result import Result
    from runtime.simulate.shape import Shape

app = command()

FaultsOption = Annotated[
    int | None, typer.Option("--faults", metavar="SEED", help="Draw what goes wrong: deaths, failures, delays.")
]
KillOption = Annotated[
    float | None, typer.Option("--kill-every", min=0.01, metavar="S", help="A replica dies every S seconds or so.")
]
SlowOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="So many loads take 10 times as long.")
]
FailingOption = Annotated[float | None, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="So many loads fail.")]
LateOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="So many messages take 50 ms.")
]
CheckOption = Annotated[bool, typer.Option("--check", help="Hold the brain's invariants to every step; slower.")]
ReplayOption = Annotated[
    int | None, typer.Option("--replay", metavar="SEED", help="Replay a random story of the tests, checked.")
]


@app.command(
    epilog=examples(
        "mux simulate --zipf 1.0 --models 64 --clients 16 --replicas 4 --slots 4 --load-s 0.1 --work-s 0.005 -n 3000",
        "mux simulate mux.yaml --trace access.jsonl",
        "mux simulate --zipf 0 --models 8 --rate 200 --faults 7 --check",
    )
)
def simulate(
    config: ConfigArgument = None,
    deployment: DeploymentOption = "",
    trace: TraceOption = None,
    zipf: ZipfOption = None,
    models: ModelsOption = 64,
    hot: HotOption = 0.0,
    scan: ScanOption = 0.0,
    drift: DriftOption = 0,
    rate: RateOption = None,
    clients: ClientsOption = None,
    requests: RequestsOption = None,
    seed: SeedOption = 0,
    replicas: ReplicasOption = None,
    slots: SlotsOption = None,
    places: PlacesOption = None,
    routers: RoutersOption = None,
    max_concurrent_loads: LoadsOption = None,
    load_s: LoadTimeOption = "",
    work_s: WorkTimeOption = "",
    policies: PoliciesOption = None,
    faults: FaultsOption = None,
    kill_every: KillOption = None,
    slow_loads: SlowOption = None,
    failing_loads: FailingOption = None,
    late_messages: LateOption = None,
    check: CheckOption = False,
    replay: ReplayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run traffic through a simulated pool: hits, loads, waits and evictions, per eviction policy side by side.

    Time is virtual; router and replicas decide with the very code of production. Beside the policies stand one cache
    of all slots with LRU, and with knowledge of the future (Belady).
    """
    if replay is not None:
        _replay(replay, as_json)
        return
    traffic = Traffic(trace, zipf, models, hot, scan, drift, rate, clients, requests, seed, deployment)
    requested = traffic.to_trace()
    shape = shape_of(config, traffic, Typed(replicas, slots, places, routers, max_concurrent_loads, load_s, work_s))
    wrong = _faults(faults, kill_every, slow_loads, failing_loads, late_messages)
    _Comparison(shape, requested, wrong, traffic, check, as_json).run(_policies(policies))


def _faults(
    seed: int | None, kill_every_s: float | None, slow: float | None, failing: float | None, late: float | None
) -> Faults:
    """Return what goes wrong: what was typed, else what was drawn, else nothing."""
    from dataclasses import replace

    from runtime.simulate.faults import Faults

    drawn = Faults.drawn(seed) if seed is not None else Faults()
    typed = {"kill_every_s": kill_every_s, "slow_loads": slow, "failing_loads": failing, "late_messages": late}
    return replace(drawn, **{name: value for name, value in typed.items() if value is not None})


def _policies(chosen: list[str] | None) -> list[str]:
    from runtime.core.eviction import POLICIES

    return list(dict.fromkeys(policy(name) for name in chosen or POLICIES))


class _Comparison:
    """One trace through one pool per policy; each row is shown when it is known."""

    def __init__(
        self, shape: Shape, trace: Trace, faults: Faults, traffic: Traffic, check: bool, as_json: bool
    ) -> None:
        self._shape = shape
        self._trace = trace
        self._faults = faults
        self._traffic = traffic
        self._check = check
        self._as_json = as_json

    def run(self, policies: list[str]) -> None:
        from mux_cli.console import put, put_json
        from runtime.simulate import report
        from runtime.simulate.belady import belady, pooled_lru

        if not self._as_json:
            self._tell_what()
            put(report.heading())
        results = [self._one(policy) for policy in policies]
        slots = self._shape.pooled_slots
        yardsticks = [measure(self._trace, slots) for measure in (pooled_lru, belady)]
        if self._as_json:
            put_json(self._document(results, [one._asdict() for one in yardsticks]))
            return
        for one in yardsticks:
            put(report.yardstick_row(one))
        put()
        put(report.footnote(slots))

    def _one(self, policy: str) -> Result:
        from dataclasses import replace

        from mux_cli.console import put
        from runtime.simulate import report
        from runtime.simulate.run import simulate

        result = simulate(
            replace(self._shape, eviction=policy), self._trace, clients=self._traffic.clients,
            seed=self._traffic.seed, faults=self._faults, check=self._check,
        )  # fmt: skip
        if not self._as_json:
            put(report.row(result))
        return result

    def _tell_what(self) -> None:
        from mux_cli.console import say

        clients = self._traffic.clients
        say(f"{self._trace.name}{f', {clients} clients' if clients is not None else ''}")
        say(str(self._shape))
        if self._faults:
            say(str(self._faults))
        say()

    def _document(self, results: list[Result], yardsticks: list[dict[str, Any]]) -> dict[str, Any]:
        from dataclasses import asdict

        return {
            "trace": self._trace.name,
            "clients": self._traffic.clients,
            "pool": asdict(self._shape),
            "faults": asdict(self._faults),
            "policies": [result.to_dict() for result in results],
            "yardsticks": yardsticks,
        }


def _replay(seed: int, as_json: bool) -> None:
    """Replay one story of the seed sweep; ``InvariantBroken`` is a bug of mux, and is told as one."""
    from mux_cli.console import put, put_json, say
    from runtime.simulate.report import heading, row
    from runtime.simulate.seeds import story

    told = story(seed)
    say(f"{told}\n")
    result = told.run()
    if as_json:
        put_json(result.to_dict())
        return
    put(heading())
    put(row(result))
    say("\nEvery invariant held at every step.")
