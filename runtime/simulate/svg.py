"""A miss-ratio curve as an SVG picture, written by hand: no library draws it."""

from __future__ import annotations

from html import escape
from typing import Final

from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.frame import HEIGHT, LEFT, RIGHT, TOP, WIDTH, short, size_ticks, x_of, y_of

_STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}.t{font-size:14px;font-weight:bold}.g{stroke:#ddd}.c{fill:none;stroke:#1f6feb;"
    "stroke-width:2.5}.a{fill:#1f6feb;opacity:.12}.m{stroke:#cf222e;stroke-dasharray:5 4}.n{fill:#cf222e}"
)


def picture(curve: MissRatioCurve, title: str, *, target: float | None = None, chosen: int | None = None) -> str:
    """Return the picture: hit rate over the slots of the pool on a logarithmic scale, the target and the choice."""
    points = [(x_of(slots, curve.most), y_of(rate)) for slots, rate in curve.points()]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    floor = f"{points[-1][0]:.1f},{y_of(0):.1f} {points[0][0]:.1f},{y_of(0):.1f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text class="t" x="{LEFT}" y="26">{escape(short(title))}</text>',
        *_grid(curve.most),
        f'<polygon class="a" points="{line} {floor}"/>',
        f'<polyline class="c" points="{line}"/>',
        *_marks(curve, target, chosen),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(most: int) -> list[str]:
    parts = []
    for tenth in range(0, 11, 2):
        y = y_of(tenth / 10)
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10 * tenth} %</text>')
    for size in size_ticks(most):
        x = x_of(size, most)
        parts.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{y_of(0):.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y_of(0) + 18:.1f}" text-anchor="middle">{size:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">slots in the pool</text>')
    return parts


def _marks(curve: MissRatioCurve, target: float | None, chosen: int | None) -> list[str]:
    parts = []
    if target is not None:
        y = y_of(target)
        parts.append(f'<line class="m" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="n" x="{LEFT + 6}" y="{y - 6:.1f}">target {100 * target:g} %</text>')
    if chosen is not None and chosen > 0:
        x, y = x_of(min(chosen, curve.most), curve.most), y_of(curve.hit_rate(chosen))
        side, shift = ("end", -8) if x > WIDTH / 2 else ("start", 8)
        parts.append(f'<line class="m" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y_of(0):.1f}"/>')
        parts.append(f'<circle class="n" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(
            f'<text class="n" x="{x + shift:.1f}" y="{y_of(0) - 8:.1f}" text-anchor="{side}">{chosen:,} slots</text>'
        )
    return parts
