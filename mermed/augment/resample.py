"""Crop, antialiased bicubic resize, flips and turns of all views of a batch as matrix products.

A view that is not turned is `rows @ image @ columns^T`, where each row of a matrix holds the bicubic weights (Keys
1981, a = -0.5; widened when the crop is reduced, as in torchvision and Pillow) of one row or column. The weights
end at the crop, so neither the padding nor the image around the crop enters. A view that is turned is made from the
same product over the box around its turned crop, filtered for the side of the view but kept on a finer grid, which is
then read at the points of the view. What lies beyond the image is written in the weights:
mirrored, or nothing, which is black.
"""

import math
from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from mermed.augment.draw import Field, PolicyTable
from mermed.augment.geometry import source_maps

OVERSAMPLING = 1.25
"""Points of the grid of a turned view per pixel of the view and side.

On natural images with crops turned by 45 degrees the mean difference to turning at the resolution of the image is 1.0
grey levels at 1, 0.8 at 1.125, 0.7 at 1.25 and 0.6 at 1.5; the work on turned views grows with the square.
"""
_REACH_CELLS = 1
"""Cells of a grid beyond the box it covers, for the taps of a point at its border."""
_SMALLEST_SUM = 0.25
"""Less than the weights of any point inside a crop sum to; keeps rows of a grid that no view reads finite."""


class Place(IntEnum):
    """The columns of a row of placements: where one view lies. Lengths are pixels of the canvas."""

    Y_START_PX = 0
    """Where the first row of the view (or of its grid) begins."""
    Y_STEP_PX = 1
    """Height of a row; negative where the view is upside down."""
    Y_WIDTH_PX = 2
    """Pixels that one unit of the bicubic kernel spans."""
    Y_LOW_PX = 3
    """First and last edge of what is visible: the crop, or the whole image where the view is turned."""
    Y_HIGH_PX = 4
    X_START_PX = 5
    X_STEP_PX = 6
    X_WIDTH_PX = 7
    X_LOW_PX = 8
    X_HIGH_PX = 9
    TURNED = 10
    MIRRORED = 11
    """1: what lies beyond the image is its mirror image."""
    TRANSPOSED = 12
    """1: rows and columns of the view change places (an odd number of quarter turns)."""
    GRID_Y = 13
    """Row of the grid at which the centre of the view's first pixel lies, and the change per column and row."""
    GRID_Y_PER_COLUMN = 14
    GRID_Y_PER_ROW = 15
    GRID_X = 16
    GRID_X_PER_COLUMN = 17
    GRID_X_PER_ROW = 18


NUM_PLACES = len(Place)
_Values = NDArray[np.float64]
_AXES = (
    (Place.X_START_PX, Field.LEFT_PX, Field.WIDTH_PX, Field.FRAME_WIDTH_PX, Place.GRID_X),
    (Place.Y_START_PX, Field.TOP_PX, Field.HEIGHT_PX, Field.FRAME_HEIGHT_PX, Place.GRID_Y),
)


def grid_side(policies: PolicyTable, side_px: int) -> int | None:
    """Side of the grid that turned views of `side_px` are read from; None when no policy turns any.

    The box around a crop turned by t is up to cos t + sin t times the crop, and 2**0.5 times at worst.
    """
    reach = float(policies.column("rotation_deg").max())
    if reach == 0.0:
        return None
    ratio = policies.column("ratio")
    slant = math.tan(math.radians(min(reach, 89.0))) * max(ratio[:, 1].max(), 1.0 / ratio[:, 0].min())
    angle = min(math.atan(slant), math.pi / 4)
    return math.ceil(OVERSAMPLING * side_px * (math.cos(angle) + math.sin(angle))) + 2 * _REACH_CELLS


def placements(
    draws: Float32[np.ndarray, "batch views fields"], *, side_px: int, grid_px: int | None
) -> Float32[np.ndarray, "batch views places"]:
    """Where each view of `draws` lies on its canvas, for views of `side_px` and turned ones read from `grid_px`."""
    rows = draws.astype(np.float64)
    maps = source_maps(draws)
    is_turned = rows[..., Field.ANGLE_RAD] != 0
    is_crossed = rows[..., Field.QUARTER_TURNS] % 2 > 0
    places = np.zeros((*draws.shape[:2], NUM_PLACES))
    places[..., Place.TURNED] = is_turned
    places[..., Place.MIRRORED] = is_turned & (rows[..., Field.BLACK_CORNERS] == 0)
    places[..., Place.TRANSPOSED] = is_crossed
    cells = np.where(is_turned, (grid_px or 0) - 2 * _REACH_CELLS, side_px)
    for axis, (first, low, length, frame, grid) in enumerate(_AXES):
        line = maps[..., axis, :]
        # one of the two is zero where nothing is turned
        half = np.where(is_turned, np.abs(line[..., :2]).sum(-1), line[..., :2].sum(-1))
        step = 2.0 * half / cells
        start = line[..., 2] - half - np.where(is_turned, _REACH_CELLS * step, 0.0)
        width = np.maximum(np.hypot(line[..., 0], line[..., 1]) * 2.0 / side_px, 1.0)
        lowest = np.where(is_turned, 0.0, rows[..., low])
        highest = np.where(is_turned, rows[..., frame], rows[..., low] + rows[..., length])
        places[..., first : first + 5] = np.stack([start, step, width, lowest, highest], -1)
        # whole numbers where nothing is turned: by column for x, by row for y, the other way round where crossed
        by_row = is_crossed ^ (axis == 1)
        plain = np.stack([np.zeros_like(start), ~by_row, by_row], -1)
        turned = _grid_points(line, start, step, side_px)
        places[..., grid : grid + 3] = np.where(is_turned[..., None], turned, plain)
    return places.astype(np.float32)


def _grid_points(line: _Values, start: _Values, step: _Values, side_px: int) -> _Values:
    """Index in the grid of the centre of a view's first pixel, and its change per column and per row."""
    per_pixel = 2.0 / side_px * line[..., :2] / step[..., None]
    corner = (line[..., 2] - line[..., :2].sum(-1) - start) / step
    return np.concatenate([(corner + 0.5 * per_pixel.sum(-1) - 0.5)[..., None], per_pixel], -1)


def resample(
    image: Float[Tensor, "batch height 3 width"],
    places: Float32[Tensor, "batch views places"],
    *,
    side_px: int,
    grid_px: int | None,
    transposes: bool,
) -> Float[Tensor, "batch views side 3 side"]:
    """The views of `image`, not clamped, in its dtype and units; channels lie between rows and columns.

    `grid_px` is the grid that `placements` were made for, `transposes` whether any view may have odd quarter turns.
    """
    batch, views = places.shape[:2]
    cells = grid_px or side_px
    num_taps = math.ceil(4.0 * max(1.0, max(image.shape[1], image.shape[3]) / side_px)) + 1
    rows, columns = (
        weights(places, first, cells, image.shape[side], num_taps=num_taps).to(image.dtype)
        for first, side in ((Place.Y_START_PX, 1), (Place.X_START_PX, 3))
    )
    # (batch, views * cells, height) @ (batch, height, 3 * width)
    seen = torch.bmm(rows.flatten(1, 2), image.flatten(2))
    # (batch * views, cells * 3, width) @ (batch * views, width, cells)
    seen = torch.bmm(seen.view(batch * views, cells * 3, -1), columns.flatten(0, 1).transpose(1, 2))
    seen = seen.view(batch, views, cells, 3, cells)
    if grid_px is not None:
        return read_grid(seen, places, side_px)
    if transposes:
        return torch.where(_column(places, Place.TRANSPOSED) > 0, seen.transpose(2, 4), seen)
    return seen


def weights(
    places: Float32[Tensor, "batch views places"], first: Place, cells: int, length_px: int, *, num_taps: int
) -> Float32[Tensor, "batch views cells length"]:
    """The weight of each of `length_px` pixels in each row (or column, as `first` says) of each view.

    `num_taps` is the largest number of pixels that one row sees; only they are computed.
    """
    start, step, width, low, high = (places[..., first + k, None, None] for k in range(5))
    is_turned, is_mirrored = (places[..., place, None, None] > 0 for place in (Place.TURNED, Place.MIRRORED))
    centre = start + step * (torch.arange(cells, device=places.device)[:, None] + 0.5)
    # (batch, views, cells, taps): the centres of the pixels within two widths
    pixel = (centre - 2.0 * width + 0.5).floor() + (torch.arange(num_taps, device=places.device) + 0.5)
    weight = cubic((pixel - centre) / width)
    is_visible = (pixel > low) & (pixel < high)
    total = (weight * (is_visible | is_turned)).sum(-1, keepdim=True).clamp_(min=_SMALLEST_SUM)
    weight = weight * (is_visible | is_mirrored) / total
    pixel = high - (high - low - (pixel - low).abs()).abs()
    index = pixel.to(torch.int64).clamp_(0, length_px - 1)
    # no pixel gets more than two parts that are not zero, so the order of the sum is of no consequence
    return weight.new_zeros((*weight.shape[:3], length_px)).scatter_add_(-1, index, weight)


def cubic(distance: Tensor) -> Tensor:
    """The bicubic kernel of Keys 1981 (IEEE TASSP 29:1153) with a = -0.5."""
    d = distance.abs().clamp_(max=2.0)
    far = (d * -0.5).add_(2.5).mul_(d).sub_(4.0).mul_(d).add_(2.0)
    near = (d * 1.5).sub_(2.5).mul_(d).mul_(d).add_(1.0)
    return torch.where(d < 1.0, near, far)


def read_grid(
    grid: Float[Tensor, "batch views cells 3 cells"], places: Float32[Tensor, "batch views places"], side_px: int
) -> Float32[Tensor, "batch views side 3 side"]:
    """The values of each view's grid at the points of the view, bicubic (a = -0.75, the kernel of grid_sample)."""
    batch, views, cells = grid.shape[:3]
    pixel = torch.arange(side_px, device=grid.device, dtype=places.dtype)
    points = []
    for first in (Place.GRID_X, Place.GRID_Y):
        start, per_column, per_row = (places[..., first + k, None, None] for k in range(3))
        # cells -> [-1, 1]
        points.append((start + per_column * pixel + per_row * pixel[:, None]) * (2.0 / cells) + (1.0 / cells - 1.0))
    # half floats would place points to a tenth of a cell
    values = grid.flatten(0, 1).transpose(1, 2).to(places.dtype)
    where = torch.stack(points, -1).flatten(0, 1)
    seen = nnf.grid_sample(values, where, mode="bicubic", padding_mode="border", align_corners=False)
    return seen.view(batch, views, 3, side_px, side_px).transpose(2, 3)


def _column(places: Tensor, place: Place) -> Tensor:
    return places[..., place, None, None, None]
