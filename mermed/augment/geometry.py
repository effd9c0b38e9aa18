"""Where each point of a view comes from: crop, flips, quarter turns and rotation as one affine map per view.

Lengths are pixels of the canvas, measured from its top left corner, so the centre of the first pixel lies at 0.5.
A view's own coordinates are (a, b) in [-1, 1], a to the right and b down, whatever its side. numpy only.
"""

import numpy as np
from jaxtyping import Float, Float32

from mermed.augment.draw import Field


def source_maps(draws: Float32[np.ndarray, "*rows fields"]) -> Float[np.ndarray, "*rows 2 3"]:
    """The affine map of each row of draws from (a, b, 1) in the view to (x, y) on the canvas, in float64.

    A view is made by crop, flips, quarter turns; its map undoes them from the last to the first, then turns the crop
    about its own centre, or about the centre of the valid area where the row has black corners.
    """
    rows = draws.astype(np.float64)
    crop = _centre(rows, Field.LEFT_PX, Field.TOP_PX, Field.WIDTH_PX, Field.HEIGHT_PX)
    frame = 0.5 * rows[..., [Field.FRAME_WIDTH_PX, Field.FRAME_HEIGHT_PX]]
    pivot = np.where(rows[..., [Field.BLACK_CORNERS]] > 0, frame, crop)
    turn = _rotation(rows[..., Field.ANGLE_RAD])
    half = 0.5 * rows[..., [Field.WIDTH_PX, Field.HEIGHT_PX]] * (1.0 - 2.0 * rows[..., [Field.FLIP_H, Field.FLIP_V]])
    linear = turn @ (half[..., :, None] * _quarters(rows[..., Field.QUARTER_TURNS]))
    offset = pivot[..., None] + turn @ (crop - pivot)[..., None]
    return np.concatenate([linear, offset], axis=-1)


def view_corners(draws: Float32[np.ndarray, "*rows fields"]) -> Float[np.ndarray, "*rows 4 2"]:
    """The (x, y) on the canvas of each view's corners: its top left, top right, bottom right, bottom left."""
    corners = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]], np.float64)
    return np.swapaxes(source_maps(draws) @ corners, -1, -2)


def _centre(rows: np.ndarray, left: Field, top: Field, width: Field, height: Field) -> np.ndarray:
    return rows[..., [left, top]] + 0.5 * rows[..., [width, height]]


def _rotation(angle: np.ndarray) -> np.ndarray:
    """Matrices that undo a counter-clockwise turn of the content; y points down."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def _quarters(turns: np.ndarray) -> np.ndarray:
    """Matrices that undo `turns` counter-clockwise quarter turns, without rounding."""
    cos = np.array([1.0, 0.0, -1.0, 0.0])[turns.astype(np.int64)]
    sin = np.array([0.0, 1.0, 0.0, -1.0])[turns.astype(np.int64)]
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
