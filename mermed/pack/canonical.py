"""Canonical: RawImage -> the one 8-bit grey or RGB image that is stored. Every rule about pixels is on this page.

Order for grey of unknown range or unit: window -> 8 bits -> MONOCHROME1 inversion -> padding to black -> resize.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.raw import RawImage, RejectedInput
from mermed.pack.window import NAMED_WINDOWS_HU, Curve, Window, percentile_window, to_grey

Pixels = NDArray[np.uint8]
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
LEAST_SPREAD = 1.0
"""An image whose grey levels spread less than this (standard deviation, of 255) shows nothing and is rejected."""
# A filter without negative lobes, so a bright edge gets no dark rim that was not there.
_FILTER = Image.Resampling.HAMMING
_REDUCING_GAP = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CanonicalImage:
    """What will be stored, as an "L" or "RGB" image and as its pixels; the window that made it; its own spacing."""

    image: Image.Image
    pixels: Pixels
    window: tuple[float, float] | None
    spacing_mm: tuple[float, float] | None


def make_canonical(raw: RawImage, modality: str, options: PackOptions) -> CanonicalImage:
    """Turn `raw` into what is stored; raises RejectedInput "blank" for an image without content."""
    curve = choose_curve(raw, modality, options) if raw.pixels.ndim == 2 else None
    pixels = _grey(raw, curve) if raw.pixels.ndim == 2 else raw.pixels
    pixels = _collapse_grey(_shrink(pixels, options.side_px))
    if _is_blank(pixels):
        raise RejectedInput("blank", "the image is constant")
    window = (curve.centre, curve.width) if isinstance(curve, Window) else None
    return CanonicalImage(
        image=Image.fromarray(pixels), pixels=pixels, window=window, spacing_mm=_spacing_of(raw, pixels)
    )


def choose_curve(raw: RawImage, modality: str, options: PackOptions) -> Curve | None:
    """The grey curve for one image; None when its values are for display already.

    - CT in HU: one named window for the whole collection, never the header's, so equal tissue is equal grey.
    - Anything else: the VOI of the header where there is one.
    - No VOI and no known unit: the 0.5 and 99.5 percentiles. No unit is guessed; the window is stored with the sample.
    """
    if modality == "ct" and raw.scale == "hounsfield":
        return NAMED_WINDOWS_HU[options.ct_window]
    if raw.voi is not None and modality != "ct":
        return raw.voi
    if raw.scale == "display":
        return None
    values = raw.pixels if raw.padding is None else raw.pixels[~raw.padding]
    window = percentile_window(values, LOW_PERCENT, HIGH_PERCENT) if values.size else None
    if window is None:
        raise RejectedInput("blank", "99 % of the pixels are equal")
    return window


def _grey(raw: RawImage, curve: Curve | None) -> Pixels:
    grey = raw.pixels if curve is None else to_grey(raw.pixels, curve)
    if raw.is_inverted:
        grey = 255 - grey
    if raw.padding is not None:
        grey = np.where(raw.padding, np.uint8(0), grey)
    return np.ascontiguousarray(grey, dtype=np.uint8)


def _shrink(pixels: Pixels, side_px: int) -> Pixels:
    """Reduce the short side to `side_px`, averaging over what falls together; never enlarge."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= side_px:
        return pixels
    size = max(1, round(width * side_px / short)), max(1, round(height * side_px / short))
    return np.asarray(Image.fromarray(pixels).resize(size, _FILTER, reducing_gap=_REDUCING_GAP))


def _collapse_grey(pixels: Pixels) -> Pixels:
    """Store RGB whose channels are equal everywhere as grey: the same picture, a third of the work."""
    if pixels.ndim == 2 or not _is_grey(pixels[::8, ::8]) or not _is_grey(pixels):
        return pixels
    return np.ascontiguousarray(pixels[..., 0])


def _is_grey(pixels: Pixels) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def _is_blank(pixels: Pixels) -> bool:
    """True when no channel spreads by LEAST_SPREAD; a few pixels usually settle it."""
    return all(grid.std((0, 1)).max() < LEAST_SPREAD for grid in (pixels[::4, ::4], pixels))


def _spacing_of(raw: RawImage, pixels: Pixels) -> tuple[float, float] | None:
    """The spacing of the stored pixels: that of the source times the reduction, to a nanometre."""
    if raw.spacing_mm is None:
        return None
    row, column = raw.spacing_mm
    (height, width), (new_height, new_width) = raw.pixels.shape[:2], pixels.shape[:2]
    return round(row * height / new_height, 6), round(column * width / new_width, 6)
