"""How much of a crop shows something: exact shares over a coarse grid of cells, for all crops of a batch at once."""

import numpy as np
from jaxtyping import Bool, Float


def shown_shares(
    content: Bool[np.ndarray, "batch rows columns"],
    top: Float[np.ndarray, "batch views attempts"],
    left: Float[np.ndarray, "batch views attempts"],
    height: Float[np.ndarray, "batch views attempts"],
    width: Float[np.ndarray, "batch views attempts"],
) -> Float[np.ndarray, "batch views attempts"]:
    """The share of each crop's area, 0 to 1, that lies in cells of its image that show something.

    Crops are given as shares of the image's height and width and must lie inside it, with an area above 0. A cell cut
    by an edge counts with its part inside: the integral image is linear within a cell, so reading it there is exact.
    """
    rows, columns = content.shape[1:]
    integral = np.zeros((len(content), rows + 1, columns + 1))
    integral[:, 1:, 1:] = content.cumsum(axis=1).cumsum(axis=2)
    upper, lower = top * rows, (top + height) * rows
    west, east = left * columns, (left + width) * columns
    shown = _at(integral, lower, east) - _at(integral, upper, east)
    shown += _at(integral, upper, west) - _at(integral, lower, west)
    return shown / (height * width * rows * columns)


def _at(integral: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The integral image of each row of the batch at fractional cells (y, x), between its four neighbours."""
    row = np.clip(y.astype(np.int64), 0, integral.shape[1] - 2)
    column = np.clip(x.astype(np.int64), 0, integral.shape[2] - 2)
    beyond_y, beyond_x = y - row, x - column
    image = np.arange(len(integral))[:, None, None]
    upper = integral[image, row, column] * (1 - beyond_x) + integral[image, row, column + 1] * beyond_x
    lower = integral[image, row + 1, column] * (1 - beyond_x) + integral[image, row + 1, column + 1] * beyond_x
    return upper * (1 - beyond_y) + lower * beyond_y
