"""The figures of a run's report as inline SVG in the colours of the page: curves, and areas stacked on each other."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from mermed.train.readings import Points

COLOURS = (
    "#2f7fd6", "#d98a1f", "#2fa36b", "#c8504b", "#8f6fc9", "#8c6d52", "#d269a6", "#7c8796", "#a3a02c", "#21a3b3",
)  # fmt: skip
WIDTH, HEIGHT = 900.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 28.0, 12.0, 40.0
STYLE = """
.legend { margin: .2rem 0 0; font-size: 13.5px; }
.legend span { display: inline-block; margin-right: 1.1rem; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.wide + .wide, .legend + .wide { margin-top: .9rem; }
.words td:nth-child(2), .words th:nth-child(2) { text-align: left; }
svg text { font-size: 12.5px; fill: currentColor; }
"""


def curve_figure(curves: Mapping[str, Points], *, x_name: str, y_name: str, from_zero: bool = False) -> str:
    """Curves over one axis, each with its colour in the legend below; empty curves are left out."""
    curves = {name: points for name, points in curves.items() if points}
    ys = [y for points in curves.values() for _, y in points]
    axes = _Axes(_ends(curves), (0.0 if from_zero else min(ys, default=0.0), max(ys, default=1.0)))
    lines = []
    for colour, (name, points) in zip(_endless_colours(len(curves)), curves.items(), strict=True):
        lines.append(_line(axes, points, colour, name))
    return _svg(axes, lines, x_name, y_name) + legend(list(curves))


def area_figure(curves: Mapping[str, Points], *, x_name: str, y_name: str, least_top: float = 0.0) -> str:
    """Areas stacked on each other, the first at the bottom; all curves have their points at the same places."""
    axes = _Axes(_ends(curves), (0.0, max(_sums(curves), default=0.0) or least_top), least_top)
    parts, floor = [], [0.0] * max((len(points) for points in curves.values()), default=0)
    for colour, (name, points) in zip(_endless_colours(len(curves)), curves.items(), strict=True):
        top = [low + y for low, (_, y) in zip(floor, points, strict=True)]
        upper = [(axes.x(x), axes.y(high)) for (x, _), high in zip(points, top, strict=True)]
        lower = [(axes.x(x), axes.y(low)) for (x, _), low in zip(points, floor, strict=True)]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
        parts.append(
            f'<polygon points="{corners}" fill="{colour}" fill-opacity="0.75"><title>{escape(name)}</title></polygon>'
        )
        floor = top
    return _svg(axes, parts, x_name, y_name) + legend(list(curves))


def legend(names: Sequence[str]) -> str:
    """The names of the curves beside their colours; one curve needs none."""
    if len(names) < 2:
        return ""
    spans = [
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(_endless_colours(len(names)), names, strict=True)
    ]
    return f'<p class="legend">{"".join(spans)}</p>'


def _endless_colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _ends(curves: Mapping[str, Points]) -> tuple[float, float]:
    xs = [x for points in curves.values() for x, _ in points]
    return min(xs, default=0.0), max(xs, default=1.0)


def _sums(curves: Mapping[str, Points]) -> list[float]:
    return [sum(y for _, y in column) for column in zip(*curves.values(), strict=True)]


class _Axes:
    """From values to pixels, and where the ticks are: round numbers."""

    def __init__(self, x_ends: tuple[float, float], y_ends: tuple[float, float], least_top: float = 0.0) -> None:
        low, high = y_ends[0], max(y_ends[1], least_top)
        if high <= low:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        self.y_ticks = round_ticks(low, high, 5)
        low, high = min(low, self.y_ticks[0]), max(high, self.y_ticks[-1])
        self.x_ticks = round_ticks(*x_ends, 8)
        self.x = _scale(x_ends, (LEFT, WIDTH - RIGHT))
        self.y = _scale((low, high), (HEIGHT - BOTTOM, TOP))


def _scale(ends: tuple[float, float], pixels: tuple[float, float]) -> Callable[[float], float]:
    span = ends[1] - ends[0] or 1.0
    return lambda value: pixels[0] + (value - ends[0]) / span * (pixels[1] - pixels[0])


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Up to about `about` multiples of 1, 2 or 5 times a power of ten within [low, high]; `low` where none fits."""
    span = high - low
    if span <= 0.0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if span / (power * factor) <= about)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def _line(axes: _Axes, points: Points, colour: str, name: str) -> str:
    title = f"<title>{escape(name)}</title>"
    if len(points) == 1:
        x, y = points[0]
        return f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="{colour}">{title}</circle>'
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round">'
        f"{title}</polyline>"
    )


def _svg(axes: _Axes, parts: Sequence[str], x_name: str, y_name: str) -> str:
    floor = HEIGHT - BOTTOM
    grid = [
        f'<path d="M{LEFT} {axes.y(tick):.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.15"/>'
        f'<text x="{LEFT - 8}" y="{axes.y(tick) + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>'
        for tick in axes.y_ticks
    ]
    grid += [
        f'<path d="M{axes.x(tick):.1f} {floor}v5" stroke="currentColor" stroke-opacity="0.5"/>'
        f'<text x="{axes.x(tick):.1f}" y="{floor + 18}" text-anchor="middle">{tick_text(tick)}</text>'
        for tick in axes.x_ticks
    ]
    middle = (TOP + floor) / 2
    names = (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'
    )
    frame = f'<path d="M{LEFT} {floor}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.5"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(y_name)} over {escape(x_name)}">'
        f"{''.join(grid)}{''.join(parts)}{frame}{names}</svg>"
    )


def tick_text(value: float) -> str:
    """A tick's number, short: 1,500 as it is, 2,500,000 as 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 9):g}"
