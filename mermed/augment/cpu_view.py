"""The geometry of one image's views on a CPU core: crop, turn, flips, quarter turns and antialiased resize.

A turned crop is first read off the image bilinearly, at the image's own resolution or at one and a half times that of
the view, whichever is less, and then reduced with the antialiased bicubic kernel of torchvision and Pillow, by torch's
vectorised kernel for bytes. On X-ray, CT and OCT images of 512 px this is 0.4 to 0.8 grey levels in the mean from the
slow reference (tests/augment/chain.py), and 11 at the 99.9th percentile of the worst view. A bicubic turn at the
image's resolution is 0.3 to 0.5 and 7, at ten times the cost: it is kept for views that enlarge their crop and for
images of 16 bits, which stay floats. Unturned views differ by 0.2, by rounding alone. Black corners fade in over one
pixel of the image. Pixels have four channels because a turn of four is twice as fast as one of three, and a resize of
four faster than one of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from mermed.augment.draw import Field
from mermed.augment.geometry import source_maps

Row = list[float]
"""One row of draws, indexed by `Field`."""
Levels = Float32[np.ndarray, "side side"] | Float32[np.ndarray, "side side 3"]
"""A view in grey levels [0, 255]; a view whose three channels are equal has one plane."""
Pixels = np.ndarray

_SAMPLES_PER_PX = 1.5
"""Samples of a turned crop per pixel of its view, along each axis; with 1 they alias (1.6 grey levels in the mean)."""
_WIDEST_STEP_PX = 2.0
"""Pixels of the image per sample at most: a bilinear sample sees two."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """The valid area of a canvas: uint8 [height, width, 4], or, when deep, float32 [height, width] in [0, 65535]."""

    pixels: Pixels
    is_deep: bool
    is_grey: bool
    """Whether red, green and blue are equal everywhere, so that one of them is enough."""


@dataclass(frozen=True, slots=True)
class SampleGrid:
    """Where on the image a turned crop is read before it is reduced to its view."""

    size_px: tuple[int, int]
    """Samples along the view's width and height."""
    numbers: Float[np.ndarray, "2 3"]
    """Map from (sample, line, 1) to (pixel, row) of the image, all counted from 0."""


def sample_grids(draws: Float32[np.ndarray, "batch views fields"], sides_px: Sequence[int]) -> list[list[SampleGrid]]:
    """The grid of each row of draws, for views of sides `sides_px`; a batch at once, as they are small sums."""
    maps = source_maps(draws)
    size_px = draws[..., [Field.WIDTH_PX, Field.HEIGHT_PX]].astype(np.float64)
    is_lying = draws[..., [Field.QUARTER_TURNS]] % 2 == 1
    size_px = np.where(is_lying, size_px[..., ::-1], size_px)
    enough_px = np.maximum(_SAMPLES_PER_PX * np.array(sides_px)[:, None], size_px / _WIDEST_STEP_PX)
    # a window may show a small part of a deep image's range, and every error with it
    size_px = np.ceil(np.where(draws[..., [Field.DEEP]] == 1, size_px, np.minimum(size_px, enough_px)))
    # from (a, b) in [-1, 1] to numbers of samples and of pixels, whose centres are whole in OpenCV
    step = 2.0 / size_px
    linear = maps[..., :2] * step[..., None, :]
    start = maps[..., 2] + (maps[..., :2] @ (0.5 * step - 1.0)[..., None])[..., 0] - 0.5
    numbers = np.concatenate([linear, start[..., None]], axis=-1)
    return [
        [SampleGrid((width, height), map_) for (width, height), map_ in zip(*views, strict=True)]
        for views in zip(size_px.astype(np.int64).tolist(), numbers, strict=True)
    ]


def source_image(canvas: UInt8[np.ndarray, "height width 3"], *, is_deep: bool) -> SourceImage:
    """What views are read from; `canvas` is the valid area alone, so no view can see what lies beyond it."""
    if is_deep:
        values = canvas[..., 0].astype(np.float32)
        values *= 256.0
        values += canvas[..., 1]
        return SourceImage(values, is_deep=True, is_grey=True)
    return SourceImage(cv2.cvtColor(canvas, cv2.COLOR_RGB2RGBA), is_deep=False, is_grey=_is_grey(canvas))


def sample_views(
    source: SourceImage, rows: Sequence[Row], grids: Sequence[SampleGrid], sides_px: Sequence[int]
) -> list[Levels]:
    """The views of `rows` before any colour: deep images through each row's window, others clamped.

    Turned crops that are read on grids of one size are reduced in one call, since a call costs as much as a small view.
    """
    views: list[Pixels] = [source.pixels] * len(rows)
    alike: dict[tuple[int, tuple[int, int]], list[int]] = {}
    for number, (row, grid, side_px) in enumerate(zip(rows, grids, sides_px, strict=True)):
        if row[Field.ANGLE_RAD]:
            alike.setdefault((side_px, grid.size_px), []).append(number)
            continue
        top, left, height, width = (int(value) for value in row[Field.TOP_PX : Field.WIDTH_PX + 1])
        # torch copies pixels that are not contiguous ten times slower
        crop = np.ascontiguousarray(source.pixels[top : top + height, left : left + width])
        views[number] = _flipped(_resized(crop[None], side_px)[0], row)
    for (side_px, (width, height)), numbers in alike.items():
        turned = np.empty((len(numbers), height, width, *source.pixels.shape[2:]), source.pixels.dtype)
        for number, crop in zip(numbers, turned, strict=True):
            _turn(source.pixels, rows[number], grids[number], side_px, crop)
        for number, view in zip(numbers, _resized(turned, side_px), strict=True):
            views[number] = view
    return [_levels(source, view, row) for view, row in zip(views, rows, strict=True)]


def _levels(source: SourceImage, view: Pixels, row: Row) -> Levels:
    """A resampled view in float32 grey levels, memory of its own."""
    if source.is_deep:
        return _windowed(view, row)
    levels = cv2.extractChannel(view, 0) if source.is_grey else cv2.cvtColor(view, cv2.COLOR_RGBA2RGB)
    return levels.astype(np.float32)


def _is_grey(canvas: UInt8[np.ndarray, "height width 3"]) -> bool:
    # one row tells colour from grey in all but a few images, and costs nothing
    middle = canvas[len(canvas) // 2]
    if (middle != middle[:, :1]).any():
        return False
    red, green, blue = cv2.split(canvas)
    return cv2.norm(red, green, cv2.NORM_INF) == 0 and cv2.norm(red, blue, cv2.NORM_INF) == 0


def _turn(pixels: Pixels, row: Row, grid: SampleGrid, side_px: int, crop: Pixels) -> None:
    """Fill `crop`, turned, flipped and turned by quarters in one pass."""
    width, height = grid.size_px
    kernel = cv2.INTER_CUBIC if row[Field.DEEP] or width * height < side_px**2 else cv2.INTER_LINEAR
    border = cv2.BORDER_CONSTANT if row[Field.BLACK_CORNERS] else cv2.BORDER_REFLECT
    flags = kernel | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(pixels, grid.numbers, grid.size_px, crop, flags=flags, borderMode=border)


def _resized(crops: Pixels, side_px: int) -> Pixels:
    """Contiguous [crops, height, width(, 4)] to the same with sides of `side_px`, antialiased bicubic."""
    pixels = torch.from_numpy(crops)
    # Permuted from an array whose batch is outermost: with another stride of it torch takes the channels for outermost.
    # (crops, height, width, 4) -> (crops, 4, height, width), or (crops, height, width) -> (crops, 1, height, width)
    pixels = pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]
    # The operator itself: `interpolate` around it costs as much as a small view.
    resized = torch.ops.aten._upsample_bicubic2d_aa(pixels, [side_px, side_px], False, None, None)
    return resized.permute(0, 2, 3, 1).numpy() if crops.ndim == 4 else resized[:, 0].numpy()


def _flipped(view: Pixels, row: Row) -> Pixels:
    if row[Field.FLIP_H] and row[Field.FLIP_V]:
        view = cv2.flip(view, -1)
    elif row[Field.FLIP_H]:
        view = cv2.flip(view, 1)
    elif row[Field.FLIP_V]:
        view = cv2.flip(view, 0)
    quarters = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    code = quarters[int(row[Field.QUARTER_TURNS])]
    return view if code is None else cv2.rotate(view, code)


def _windowed(values: Float32[np.ndarray, "side side"], row: Row) -> Levels:
    low, high = 65535.0 * row[Field.WINDOW_LOW], 65535.0 * row[Field.WINDOW_HIGH]
    levels = values - np.float32(low)
    levels *= np.float32(255.0 / (high - low))
    return np.clip(levels, 0.0, 255.0, out=levels)
