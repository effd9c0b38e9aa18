"""The report's figures as inline SVG: text and axes take the colour of the page, so they read in light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mermed.eval.maps import EmbeddingMap

_INK = "#010203"
"""Stands for the page's own text colour until the SVG is written."""
MODEL_COLOURS = {"random": "#8a8f98", "initial": "#d98a1f", "teacher": "#2f7fd6"}
_COLOURS = (
    "#2f7fd6",
    "#d98a1f",
    "#2fa36b",
    "#c8504b",
    "#8f6fc9",
    "#8c6d52",
    "#d269a6",
    "#7c8796",
    "#a3a02c",
    "#21a3b3",
)
_MARKERS = "o^sDvP"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.facecolor": "none",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_PROBE_TITLES = {"knn": "k-NN", "linear": "linear probe"}
_MAPS_PER_ROW = 3


def forest_plot(tasks: Sequence[Mapping[str, Any]]) -> str:
    """AUROC with its 95 % interval: a row per scored task, a panel per probe, a colour per model."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 1.3 + 0.52 * len(tasks)), layout="constrained")
        panels = figure.subplots(1, len(_PROBE_TITLES), sharey=True, squeeze=False)[0]
        for panel, (probe, title) in zip(panels, _PROBE_TITLES.items(), strict=True):
            _forest_panel(panel, tasks, probe)
            panel.set_title(title)
        panels[0].set_yticks(range(len(tasks)), [f"{task['name']}{_stamp(task)}" for task in tasks])
        panels[0].invert_yaxis()
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        return _svg(figure, "forest")


def _stamp(task: Mapping[str, Any]) -> str:
    return " LEAKY" if task["leak"]["status"] == "LEAKY" else ""


def _forest_panel(panel: Axes, tasks: Sequence[Mapping[str, Any]], probe: str) -> None:
    for place, (model, colour) in enumerate(MODEL_COLOURS.items()):
        drawn = False
        for row, task in enumerate(tasks):
            measure = task["results"][probe][model]["auroc"]
            if measure["value"] is None:
                continue
            y = row + 0.22 * (place - 1)
            if measure["low"] is not None:
                panel.plot([measure["low"], measure["high"]], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            panel.plot(measure["value"], y, "o", color=colour, markersize=5, label=None if drawn else model)
            drawn = True
    panel.axvline(0.5, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
    panel.set_xlabel("macro AUROC, 95 % interval (0.5 is chance)")
    panel.grid(axis="x", color=_INK, alpha=0.12)
    panel.tick_params(left=False)


def map_figure(maps: Sequence[EmbeddingMap]) -> str:
    """Small multiples of embedding maps, three a row; the axes carry no unit, so they show no numbers."""
    num_rows = -(-len(maps) // _MAPS_PER_ROW)
    with rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 3.9 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, _MAPS_PER_ROW, squeeze=False).ravel()
        for panel, one in zip(panels, maps, strict=False):
            _draw_map(panel, one)
        for panel in panels[len(maps) :]:
            panel.set_axis_off()
        return _svg(figure, "maps")


def _draw_map(panel: Axes, one: EmbeddingMap) -> None:
    for number, name in enumerate(one.names):
        points = one.points[one.colour == number]
        if len(points):
            marker = _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
            colour = _COLOURS[number % len(_COLOURS)]
            panel.scatter(
                points[:, 0], points[:, 1], s=7, marker=marker, color=colour, linewidths=0, alpha=0.7, label=name
            )
    panel.set_title(one.title, fontsize=10)
    shown = f", {len(one.points):,} of {one.num_images:,} images" if len(one.points) < one.num_images else ""
    panel.set_xlabel(f"{one.variance:.0%} of variance{shown}", fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])
    if len(one.names) <= 2 * len(_COLOURS):
        panel.legend(
            fontsize=7, markerscale=2, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1), handletextpad=0.1
        )


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element for HTML: no prolog, metadata, namespace or unused id; the ink made currentColor."""
    with rc_context({"svg.hashsalt": name}):
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    kept = {identifier for pair in used for identifier in pair if identifier}
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in kept else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    # the page decides the width; the height follows from the view box
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]+")[^>]*>', r'<svg \1 role="img">', text, count=1)
    return text.replace(_INK, "currentColor")
