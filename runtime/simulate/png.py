"""A miss-ratio curve as a PNG picture, drawn with Pillow at twice the size of the SVG one."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.frame import HEIGHT, LEFT, RIGHT, TOP, WIDTH, short, size_ticks, x_of, y_of

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SCALE: Final = 2  # pixels of the picture for one of the frame
SMOOTH: Final = 2  # it is drawn so much larger still: Pillow's lines have no soft edges
INK, GRID, CURVE, MARK, UNDER = "#333333", "#dddddd", "#1f6feb", "#cf222e", "#e4edfd"


def picture(curve: MissRatioCurve, title: str, *, target: float | None = None, chosen: int | None = None) -> bytes:
    """Return the picture: hit rate over the slots of the pool on a logarithmic scale, the target and the choice.

    Raises ``ImportError`` where Pillow is not installed.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH * SCALE * SMOOTH, HEIGHT * SCALE * SMOOTH), "white")
    board = _Board(ImageDraw.Draw(image))
    points = [(x_of(slots, curve.most), y_of(rate)) for slots, rate in curve.points()]
    board.area([*points, (points[-1][0], y_of(0)), (points[0][0], y_of(0))], UNDER)
    board.text(LEFT, 26, short(title), anchor="ls", size=14)
    _grid(board, curve.most)
    board.line(points, CURVE, 2.5)
    _marks(board, curve, target, chosen)
    file = BytesIO()
    image.resize((WIDTH * SCALE, HEIGHT * SCALE), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


class _Board:
    """Draws in the frame's pixels."""

    def __init__(self, draw: ImageDraw) -> None:
        self._draw = draw

    def line(self, points: list[tuple[float, float]], color: str, width: float = 1.0) -> None:
        self._draw.line(_large(points), fill=color, width=round(width * SCALE * SMOOTH), joint="curve")

    def dashes(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        (x1, y1), (x2, y2) = start, end
        count = max(1, round(max(abs(x2 - x1), abs(y2 - y1)) / 9))
        for number in range(count):
            a, b = number / count, (number + 0.55) / count
            piece = [(x1 + (x2 - x1) * a, y1 + (y2 - y1) * a), (x1 + (x2 - x1) * b, y1 + (y2 - y1) * b)]
            self.line(piece, MARK)

    def area(self, points: list[tuple[float, float]], color: str) -> None:
        self._draw.polygon(_large(points), fill=color)

    def dot(self, x: float, y: float, radius: float) -> None:
        self._draw.ellipse(_large([(x - radius, y - radius), (x + radius, y + radius)]), fill=MARK)

    def text(self, x: float, y: float, text: str, *, anchor: str, size: int = 12, color: str = INK) -> None:
        """``anchor``: l, m or r, then s for the baseline."""
        from PIL import ImageFont

        font = ImageFont.load_default(size * SCALE * SMOOTH)
        self._draw.text(_large([(x, y)])[0], text, fill=color, font=font, anchor=anchor)


def _large(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x * SCALE * SMOOTH, y * SCALE * SMOOTH) for x, y in points]


def _grid(board: _Board, most: int) -> None:
    for tenth in range(0, 11, 2):
        y = y_of(tenth / 10)
        board.line([(LEFT, y), (WIDTH - RIGHT, y)], GRID)
        board.text(LEFT - 8, y + 4, f"{10 * tenth} %", anchor="rs")
    for size in size_ticks(most):
        x = x_of(size, most)
        board.line([(x, TOP), (x, y_of(0))], GRID)
        board.text(x, y_of(0) + 18, f"{size:,}", anchor="ms")
    board.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "slots in the pool", anchor="ms")


def _marks(board: _Board, curve: MissRatioCurve, target: float | None, chosen: int | None) -> None:
    if target is not None:
        board.dashes((LEFT, y_of(target)), (WIDTH - RIGHT, y_of(target)))
        board.text(LEFT + 6, y_of(target) - 6, f"target {100 * target:g} %", anchor="ls", color=MARK)
    if chosen is not None and chosen > 0:
        x, y = x_of(min(chosen, curve.most), curve.most), y_of(curve.hit_rate(chosen))
        board.dashes((x, y), (x, y_of(0)))
        board.dot(x, y, 4)
        side, shift = ("rs", -8) if x > WIDTH / 2 else ("ls", 8)
        board.text(x + shift, y_of(0) - 8, f"{chosen:,} slots", anchor=side, color=MARK)
