"""Where an image shows something: a coarse map of each canvas, read off a few of its pixels while they are near."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, UInt8

CELLS = 16
"""Rows and columns of the map, over the valid area of the canvas."""
BLACK_LEVEL = 10
"""Grey level up to which a cell counts as empty: above the noise of a lossy codec in black, below dark tissue."""

_PIXELS_OF_A_CELL = 2
_POINTS = CELLS * _PIXELS_OF_A_CELL
_PLACES = 2 * np.arange(_POINTS) + 1
"""Centres of the points, in halves of a point."""


def content_cells(
    canvas: UInt8[np.ndarray, "side side 3"], size: tuple[int, int], window: tuple[float, float] | None = None
) -> Bool[np.ndarray, "rows columns"]:
    """Which cells of the image of (height, width) at the top left of `canvas` are brighter than black in the mean.

    Green is looked at, at 32 x 32 pixels whatever the size. A canvas of 16 bits (high byte in red, low byte in green)
    is looked at through `window`, the lowest and highest value shown, as shares of 65,535. An image that is bright
    wherever it is empty counts as showing something everywhere, which leaves its crops to chance.
    """
    rows, columns = (_PLACES * length // (2 * _POINTS) for length in size)
    green = canvas[rows[:, None], columns, 1]
    levels = green if window is None else shown_levels(canvas[rows[:, None], columns, 0], green, window)
    cells = levels.reshape(CELLS, _PIXELS_OF_A_CELL, CELLS, _PIXELS_OF_A_CELL).sum(axis=(1, 3))
    return cells > BLACK_LEVEL * _PIXELS_OF_A_CELL**2


def shown_levels(
    high_byte: npt.NDArray[np.uint8], low_byte: npt.NDArray[np.uint8], window: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Grey levels 0 to 255 of values of 16 bits through a window, whose ends are shares of 65,535."""
    low, high = window
    share = (high_byte * 256.0 + low_byte).astype(np.float64) / 65535.0
    return np.clip((share - low) / (high - low), 0.0, 1.0) * 255.0
