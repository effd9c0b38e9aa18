"""What a row of draws does, in words for people and in numbers for programs."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from mermed.augment.draw import ORDERS, Field
from mermed.augment.extra import Extra, extra_texts, extras_drawn

_JITTERS = (
    ("bri", Field.BRIGHTNESS, "{:.2f}", 1.0),
    ("con", Field.CONTRAST, "{:.2f}", 1.0),
    ("sat", Field.SATURATION, "{:.2f}", 1.0),
    ("hue", Field.HUE, "{:+.3f}", 0.0),
)
COLUMNS = (
    "area", "size", "at", "turn", "flip", "quarters", "window", "stain", "shift", "jitter", "gamma", "invert", "grey",
    "blur", "solarise", "extra",
)  # fmt: skip
"""What a table of draws may have columns for, in the order in which it is done, the extras of Kornia last."""

Row = Float32[np.ndarray, " fields"]


def view_names(num_global: int, num_views: int) -> list[str]:
    """G1, G2, ... for the global views, then L1, L2, ... for the local ones."""
    return [f"G{v + 1}" if v < num_global else f"L{v - num_global + 1}" for v in range(num_views)]


def parameter_texts(row: Row, extras: Sequence[Extra] = ()) -> list[str]:
    """What a row of draws does, in words, in the order it is done; neutral parameters and the place are left out."""
    return [text for column, text in _parts(row) if column != "at"] + extra_texts(row, extras)


def parameter_cells(row: Row, extras: Sequence[Extra] = ()) -> dict[str, str]:
    """The same for a table: the columns of COLUMNS that are not neutral, each with its value."""
    cells: dict[str, str] = {}
    for column, text in _parts(row):
        value = text.removeprefix(f"{column} ")
        cells[column] = f"{cells[column]}, {value}" if column in cells else value
    if texts := extra_texts(row, extras):
        cells["extra"] = ", ".join(texts)
    return cells


def field_values(row: Row, extras: Sequence[Extra] = ()) -> dict[str, float]:
    """Every number of a row of draws by its name in `draw.Field`, in lower case, then those of the extras."""
    values = {field.name.lower(): round(float(row[field]), 6) for field in Field}
    for extra, (is_on, magnitude) in zip(extras, extras_drawn(row, extras).tolist(), strict=True):
        values |= {f"{extra.name}_on": is_on, extra.name: round(magnitude, 6)}
    return values


def _parts(row: Row) -> list[tuple[str, str]]:
    """Column and text of everything that is not neutral."""
    return [*_geometry_parts(row), *_tone_parts(row), *_finish_parts(row)]


def _geometry_parts(row: Row) -> list[tuple[str, str]]:
    area = row[Field.HEIGHT_PX] * row[Field.WIDTH_PX] / (row[Field.FRAME_HEIGHT_PX] * row[Field.FRAME_WIDTH_PX])
    parts = [
        ("area", f"{100 * area:.0f} %"),
        ("size", f"{row[Field.WIDTH_PX]:.0f} x {row[Field.HEIGHT_PX]:.0f} px"),
        ("at", f"{row[Field.LEFT_PX]:.0f}, {row[Field.TOP_PX]:.0f}"),
    ]
    if row[Field.ANGLE_RAD]:
        parts.append(("turn", f"turn {math.degrees(row[Field.ANGLE_RAD]):+.0f}°"))
    flips = "h" * int(row[Field.FLIP_H]) + "v" * int(row[Field.FLIP_V])
    if flips:
        parts.append(("flip", f"flip {flips}"))
    if row[Field.QUARTER_TURNS]:
        parts.append(("quarters", f"quarters {row[Field.QUARTER_TURNS]:.0f}"))
    return parts


def _tone_parts(row: Row) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    if row[Field.DEEP]:
        parts.append(("window", f"window {row[Field.WINDOW_LOW]:.4f} to {row[Field.WINDOW_HIGH]:.4f}"))
    scale, shift = row[Field.HED_SCALE_H : Field.HED_SCALE_D + 1], row[Field.HED_SHIFT_H : Field.HED_SHIFT_D + 1]
    if (scale != 1).any():
        parts.append(("stain", "stain " + _numbers("{:.2f}", scale.tolist())))
    if shift.any():
        parts.append(("shift", "shift " + _numbers("{:+.2f}", shift.tolist())))
    for place in ORDERS[int(row[Field.ORDER])]:
        name, field, shape, neutral = _JITTERS[place]
        if row[field] != neutral:
            parts.append(("jitter", f"{name} " + shape.format(row[field])))
    if row[Field.GAMMA] != 1:
        parts.append(("gamma", f"gamma {row[Field.GAMMA]:.2f}"))
    return parts


def _finish_parts(row: Row) -> list[tuple[str, str]]:
    parts = [(name, name) for name, field in (("invert", Field.INVERT), ("grey", Field.GRAYSCALE)) if row[field]]
    if row[Field.BLUR_SIGMA_PX]:
        parts.append(("blur", f"blur {row[Field.BLUR_SIGMA_PX]:.1f} px"))
    return parts + [("solarise", "solarise")] * int(row[Field.SOLARISE])


def _numbers(shape: str, values: Sequence[float]) -> str:
    return " ".join(map(shape.format, values))
