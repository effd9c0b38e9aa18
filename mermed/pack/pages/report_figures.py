"""The figures of a pack's report as inline SVG in the colours of the page: the flow of inputs, and grey histograms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

BINS = ("packed", "duplicates", "excluded", "quarantined")
COLOURS = {
    "packed": "var(--good)",
    "duplicates": "var(--accent)",
    "excluded": "var(--soft)",
    "quarantined": "var(--bad)",
}
WIDTH, LEFT, RIGHT, BAR = 700, 130, 550, 10
SCALE_PX, SLOT_PX, TOP_PX = 220, 36, 12
LEAST_PX = 1.5
"""The thinnest a band is drawn, so that one lost file in ten million can be seen."""


@dataclass(frozen=True, slots=True)
class _Node:
    top: float
    height: float


def flow_figure(flows: Mapping[str, Mapping[str, int]]) -> str:
    """Inputs of each modality, left, flowing into the four bins, right; heights are shares of all inputs.

    `flows` maps a modality to its inputs per bin.
    """
    bins = {name: sum(flow.get(name, 0) for flow in flows.values()) for name in BINS}
    total = max(sum(bins.values()), 1)
    left = _stack({name: _band(flow, total) for name, flow in flows.items()})
    right = _stack({bin: sum(_px(flow.get(bin, 0), total) for flow in flows.values()) for bin in BINS})
    height = 2 * TOP_PX + max(node.top + max(node.height, SLOT_PX - 4) for node in (*left.values(), *right.values()))
    parts = _ribbons(flows, left, right, total)
    for name, flow in flows.items():
        count = sum(flow.get(bin, 0) for bin in BINS)
        parts.append(_node(left[name], LEFT - BAR, "currentColor"))
        parts.append(_label(left[name], LEFT - BAR - 8, "end", name, f"{count:,} found"))
    for bin, count in bins.items():
        parts.append(_node(right[bin], RIGHT, COLOURS[bin]))
        share = f" · {count / total:.1%}" if 0 < count < total else ""
        parts.append(_label(right[bin], RIGHT + BAR + 8, "start", bin, f"{count:,}{share}"))
    text = ", ".join(f"{count:,} {bin}" for bin, count in bins.items())
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{sum(bins.values()):,} inputs: {text}">'
        f"{''.join(parts)}</svg>"
    )


def _px(count: int, total: int) -> float:
    return max(count / total * SCALE_PX, LEAST_PX) if count else 0.0


def _band(flow: Mapping[str, int], total: int) -> float:
    return sum(_px(flow.get(bin, 0), total) for bin in BINS)


def _stack(heights: Mapping[str, float]) -> dict[str, _Node]:
    """Nodes below each other, each with room for its two lines of text."""
    nodes, top = {}, float(TOP_PX)
    for name, height in heights.items():
        nodes[name] = _Node(top, height)
        top += max(height + 10, SLOT_PX)
    return nodes


def _ribbons(
    flows: Mapping[str, Mapping[str, int]], left: Mapping[str, _Node], right: Mapping[str, _Node], total: int
) -> list[str]:
    parts = []
    arrived = {bin: right[bin].top for bin in BINS}
    for name, flow in flows.items():
        left_y = left[name].top
        for bin in BINS:
            thick = _px(flow.get(bin, 0), total)
            if thick:
                title = f"<title>{escape(name)}: {flow[bin]:,} {bin}</title>"
                path = _ribbon(left_y, arrived[bin], thick)
                parts.append(f'<path d="{path}" fill="{COLOURS[bin]}" fill-opacity="0.3">{title}</path>')
                left_y += thick
                arrived[bin] += thick
    return parts


def _ribbon(left_y: float, right_y: float, thick: float) -> str:
    middle = (LEFT + RIGHT) / 2
    left_end, right_end = left_y + thick, right_y + thick
    return (
        f"M{LEFT} {left_y:.1f}C{middle} {left_y:.1f} {middle} {right_y:.1f} {RIGHT} {right_y:.1f}"
        f"V{right_end:.1f}C{middle} {right_end:.1f} {middle} {left_end:.1f} {LEFT} {left_end:.1f}Z"
    )


def _node(node: _Node, x: float, colour: str) -> str:
    if not node.height:
        return ""
    return f'<rect x="{x}" y="{node.top:.1f}" width="{BAR}" height="{node.height:.1f}" fill="{colour}"/>'


def _label(node: _Node, x: float, anchor: str, name: str, number: str) -> str:
    y = node.top + max(node.height / 2 - 4, 10)
    return (
        f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" font-size="13">'
        f'<tspan font-weight="600">{escape(name)}</tspan>'
        f'<tspan x="{x}" dy="14" font-size="12">{escape(number)}</tspan></text>'
    )


def histogram_figure(counts: Sequence[int]) -> str:
    """Grey levels from black to white; the two end bins are cut where they tower over the others."""
    inner = max([*counts[1:-1], 1])
    highest = max(inner, min(max(counts), 1.3 * inner))
    step = 256 / len(counts)
    bars = []
    for number, count in enumerate(counts):
        height = min(count / highest, 1.0) * 60
        if height:
            cut = ' fill="var(--bad)"' if count > highest else ""
            bars.append(
                f'<rect x="{number * step:g}" y="{62 - height:.2f}" width="{step:g}" height="{height:.2f}"{cut}/>'
            )
    return (
        f'<svg viewBox="0 0 256 64" role="img" aria-label="histogram of grey levels"><g fill="var(--accent)">'
        f'{"".join(bars)}</g><path d="M0 62.5H256" stroke="currentColor" stroke-opacity="0.5" fill="none"/></svg>'
    )


def histogram_words(counts: Sequence[int]) -> str:
    """What a histogram of stored grey levels says: its share of black and of white, and its median level."""
    total = sum(counts)
    if not total:
        return "no pixels"
    below, median = 0, 0
    for number, count in enumerate(counts):
        below += count
        if 2 * below >= total:
            median = round((number + 0.5) * 256 / len(counts))
            break
    return f"{counts[0] / total:.0%} black, {counts[-1] / total:.0%} white, median {median}"
