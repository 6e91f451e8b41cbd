"""``mux plan``: how many replicas and slots a trace needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    PolicyOption,
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
    shape_of,
)

if TYPE_CHECKING:
    from runtime.simulate.arrivals import Trace
    from runtime.simulate.curve import MissRatioCurve
    from runtime.simulate.shape import Shape
    from runtime.simulate.sizing import Sizing, Target

app = command()

TRIED_REQUESTS = 20_000  # of a trace, in each simulated run

HitRateOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Requests that find their model in memory.")
]
P99Option = Annotated[
    float | None, typer.Option(min=0.0, metavar="S", help="Seconds within which 99 of 100 requests begin.")
]
VaryOption = Annotated[
    Literal["replicas", "slots"], typer.Option(help="What may grow: replicas, or the slots of each.")
]
SvgOption = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also draw the curve into an SVG file.")]
PngOption = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Also draw the curve into a PNG file.")]


@app.command(
    epilog=examples(
        "mux plan --trace access.jsonl --target-hit-rate 0.95 --slots 4",
        "mux plan mux.yaml --trace logs/ --target-p99 0.2 --svg curve.svg",
        "mux plan --zipf 1.0 --models 200 --rate 100 --target-p99 0.5 --vary slots --replicas 4",
    )
)
def plan(
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
    target_hit_rate: HitRateOption = None,
    target_p99: P99Option = None,
    vary: VaryOption = "replicas",
    replicas: ReplicasOption = None,
    slots: SlotsOption = None,
    places: PlacesOption = None,
    routers: RoutersOption = None,
    max_concurrent_loads: LoadsOption = None,
    load_s: LoadTimeOption = "",
    work_s: WorkTimeOption = "",
    policy: PolicyOption = None,
    svg: SvgOption = None,
    png: PngOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how many replicas and slots a trace needs: the miss-ratio curve, and the smallest pool that will do.

    The curve is of one LRU cache. With a target, pools are tried by simulation, the first 20,000 requests each.
    """
    from mux_cli.exits import UsageProblem
    from runtime.simulate.curve import MissRatioCurve
    from runtime.simulate.sizing import Target

    if svg is not None and svg.suffix not in ("", ".svg"):
        raise UsageProblem(f"--svg draws SVG, not what {str(svg)!r} promises.", hint="--png draws PNG.")
    if png is not None:
        _require_pillow()
    traffic = Traffic(trace, zipf, models, hot, scan, drift, rate, clients, requests, seed, deployment)
    requested = traffic.to_trace()
    typed = Typed(replicas, slots, places, routers, max_concurrent_loads, load_s, work_s, policy)
    shape = shape_of(config, traffic, typed)
    target = Target(target_hit_rate, target_p99)
    curve = MissRatioCurve.of(requested)
    sizing = _size(shape, requested, traffic, target, curve, vary, as_json)
    _show(shape, requested, target, curve, sizing, as_json)
    if svg is not None or png is not None:
        _draw(requested, target, curve, sizing, svg, png)


def _size(
    shape: Shape,
    trace: Trace,
    traffic: Traffic,
    target: Target,
    curve: MissRatioCurve,
    vary: Literal["replicas", "slots"],
    as_json: bool,
) -> Sizing | None:
    """Return the trials, or None where nothing was to be found: no target, or one beyond any cache."""
    from mux_cli.console import say
    from runtime.simulate import report
    from runtime.simulate.arrivals import First
    from runtime.simulate.run import simulate
    from runtime.simulate.sizing import Trial, at_once, smallest_pool

    if target.hit_rate is None and target.p99_s is None:
        return None
    if target.hit_rate is not None and curve.best < target.hit_rate:
        return None
    tried = First(trace, TRIED_REQUESTS)

    def tell(trial: Trial) -> None:
        verdict = "enough" if trial.met else "too small"
        say(f"{trial.shape.replicas:>8} x {trial.shape.slots:<5} {report.row(trial.result)}  {verdict}")

    if not as_json:
        say(f"REPLICAS x SLOTS {report.heading()}")
    return smallest_pool(
        shape,
        target,
        curve,
        lambda candidate: simulate(candidate, tried, clients=traffic.clients, seed=traffic.seed),
        at_once=float(traffic.clients) if traffic.clients is not None else at_once(tried, shape),
        vary=vary,
        told=(lambda trial: None) if as_json else tell,
    )


def _show(
    shape: Shape,
    trace: Trace,
    target: Target,
    curve: MissRatioCurve,
    sizing: Sizing | None,
    as_json: bool,
) -> None:
    from mux_cli.console import put, put_json, say
    from runtime.simulate import chart

    if as_json:
        put_json(_document(trace, target, curve, sizing))
        return
    say()
    for line in chart.lines(curve, target=target.hit_rate, chosen=_chosen_slots(sizing)):
        put(line)
    put()
    for line in _verdict(shape, target, curve, sizing):
        put(line)


def _chosen_slots(sizing: Sizing | None) -> int | None:
    return sizing.chosen.shape.pooled_slots if sizing is not None and sizing.chosen is not None else None


def _draw(
    trace: Trace, target: Target, curve: MissRatioCurve, sizing: Sizing | None, svg: Path | None, png: Path | None
) -> None:
    from mux_cli.console import say
    from runtime.simulate import png as in_pixels
    from runtime.simulate import svg as in_lines

    title, chosen = f"Hit rate: {trace.name}", _chosen_slots(sizing)
    if svg is not None:
        _write(svg, in_lines.picture(curve, title, target=target.hit_rate, chosen=chosen).encode())
        say(f"The curve is drawn in {svg}.")
    if png is not None:
        _write(png, in_pixels.picture(curve, title, target=target.hit_rate, chosen=chosen))
        say(f"The curve is drawn in {png}.")


def _require_pillow() -> None:
    """Raise ``UsageProblem`` where a PNG cannot be drawn: before the work, not after it."""
    from importlib.util import find_spec

    from mux_cli.exits import UsageProblem

    if find_spec("PIL") is None:
        raise UsageProblem(
            "--png needs Pillow, which is not installed.", hint="pip install pillow, or draw with --svg."
        )


def _verdict(shape: Shape, target: Target, curve: MissRatioCurve, sizing: Sizing | None) -> list[str]:
    """Return what it comes to, in sentences."""
    about = "" if curve.rate == 1.0 else f" (estimated from {100 * curve.rate:.1f} % of the models)"
    found = [
        f"{curve.requests:,} requests for {curve.models:,} models{about}. At best {100 * curve.best:.1f} % hit: each "
        "model's first request cannot."
    ]
    for share in (0.5, 0.8, 0.9, 0.95, 0.99):
        slots = curve.slots_for(share)
        if slots is not None:
            found.append(f"{100 * share:>4g} % hit with {slots:,} slots in the pool.")
    if target.hit_rate is None and target.p99_s is None:
        return [*found, "Name a target for the smallest pool: --target-hit-rate 0.95 or --target-p99 0.2."]
    if target.hit_rate is not None and sizing is None:
        return [*found, f"No pool reaches {100 * target.hit_rate:g} % on this trace."]
    assert sizing is not None
    if sizing.chosen is None:
        most = sizing.trials[-1].shape
        return [*found, f"No pool was found in which {target}: not even {most}."]
    best = sizing.chosen.shape
    pool = f"{best.replicas} replica{'s' if best.replicas > 1 else ''}"
    slots_each = f"{best.slots} slot{'s' if best.slots > 1 else ''} each" if best.slots > 0 else "unlimited slots"
    return [*found, f"The smallest pool in which {target}: {pool} with {slots_each}."]


def _write(path: Path, picture: bytes) -> None:
    """Write a picture. Raises ``UsageProblem`` where that cannot be."""
    from mux_cli.exits import UsageProblem

    try:
        path.write_bytes(picture)
    except OSError as exc:
        raise UsageProblem(f"{str(path)!r} cannot be written: {exc.strerror}.") from exc


def _document(trace: Trace, target: Target, curve: MissRatioCurve, sizing: Sizing | None) -> dict[str, Any]:
    chosen = sizing.chosen if sizing is not None else None
    return {
        "trace": trace.name,
        "requests": curve.requests,
        "models": curve.models,
        "sampled": round(curve.rate, 6),
        "best_hit_rate": round(curve.best, 6),
        "curve": [{"slots": slots, "hit_rate": round(rate, 6)} for slots, rate in curve.points()],
        "target": {"hit_rate": target.hit_rate, "p99_s": target.p99_s},
        "trials": [trial.to_dict() for trial in sizing.trials] if sizing is not None else [],
        "chosen": chosen.to_dict() if chosen is not None else None,
    }
