"""Thumbnail: a small JPEG of any raw or packed picture, for people to look at; never for training."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.pack.pixels.window import percentile_window, to_grey

SIDE_PX = 96
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
QUALITY = 80
# Reduced by skipping to twice the wanted side first: the average over what is left is cheap, and looks the same.
_KEEP_TIMES = 2
_NOTHING = np.zeros((1, 1), np.uint8)
# Sums and differences of values within it do not overflow.
_LARGEST = 1e300


def thumbnail(pixels: NDArray[Any], side_px: int = SIDE_PX) -> bytes:
    """JPEG bytes of `pixels` [height width] or [height width 3], the long side at most `side_px`; never enlarged.

    8-bit values are shown as they are. Values of any other type have no known range, so they are stretched between
    their 0.5 and 99.5 percentiles; NaN and infinity are black. Equal pixels give equal bytes. Raises ValueError for a
    shape that is no picture.
    """
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"expected [height width] or [height width 3], found shape {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not pixels.size:
        pixels = _NOTHING
    step = max(1, max(pixels.shape[:2]) // (_KEEP_TIMES * side_px))
    # Starting at half a step would skip a side of a pixel or two whole.
    rows, columns = (slice(min(step // 2, length - 1), None, step) for length in pixels.shape[:2])
    image = Image.fromarray(_to_8_bits(np.ascontiguousarray(pixels[rows, columns])))
    image.thumbnail((side_px, side_px), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if np.issubdtype(values.dtype, np.integer):
        return _stretch(values, values)
    finite = np.isfinite(values)
    levels = np.where(finite, values, 0.0).astype(np.float64).clip(-_LARGEST, _LARGEST)
    return np.where(finite, _stretch(levels, levels[finite]), 0).astype(np.uint8)


def _stretch(values: NDArray[Any], known: NDArray[Any]) -> NDArray[np.uint8]:
    """`values` between the percentiles of `known`; where those are equal, its whole range shows the little there is."""
    for low, high in ((LOW_PERCENT, HIGH_PERCENT), (0.0, 100.0)):
        window = percentile_window(known, low, high) if known.size else None
        if window is not None:
            return to_grey(values, window)
    return np.zeros(values.shape, np.uint8)
