"""Canonical: RawImage -> the one 8-bit grey or RGB image that is stored. Every rule about pixels is on this page.

Order for grey of unknown range or unit: window -> 8 bits -> MONOCHROME1 inversion -> padding to black -> resize.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from mermed.pack.moments import image_moments
from mermed.pack.options import PackOptions
from mermed.pack.raw import RawImage, RejectedInput
from mermed.pack.window import NAMED_WINDOWS_HU, Curve, Window, percentile_window, to_grey

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
LEAST_SPREAD = 1.0
"""An image whose grey levels spread less than this (standard deviation, of 255) shows nothing and is rejected."""
# A filter without negative lobes, so a bright edge gets no dark rim that was not there.
_FILTER = Image.Resampling.HAMMING
_REDUCING_GAP = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CanonicalImage:
    """What will be stored: an "L" or "RGB" image, the window that made it and the spacing of its own pixels."""

    image: Image.Image
    window: tuple[float, float] | None
    spacing_mm: tuple[float, float] | None


def make_canonical(raw: RawImage, modality: str, options: PackOptions) -> CanonicalImage:
    """Turn `raw` into what is stored; raises RejectedInput "blank" for an image without content."""
    if raw.pixels.ndim == 3:
        image, curve = Image.fromarray(raw.pixels), None
    else:
        curve = choose_curve(raw, modality, options)
        image = Image.fromarray(_grey(raw, curve))
    image = _collapse_grey(_shrink(image, options.side_px))
    if _spread(image) < LEAST_SPREAD:
        raise RejectedInput("blank", "the image is constant")
    window = (curve.centre, curve.width) if isinstance(curve, Window) else None
    return CanonicalImage(image=image, window=window, spacing_mm=_spacing_of(raw, image))


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


def _grey(raw: RawImage, curve: Curve | None) -> np.ndarray:
    grey = raw.pixels if curve is None else to_grey(raw.pixels, curve)
    if raw.is_inverted:
        grey = 255 - grey
    if raw.padding is not None:
        grey = np.where(raw.padding, np.uint8(0), grey)
    return np.ascontiguousarray(grey, dtype=np.uint8)


def _shrink(image: Image.Image, side_px: int) -> Image.Image:
    """Reduce the short side to `side_px`, averaging over what falls together; never enlarge."""
    short = min(image.size)
    if short <= side_px:
        return image
    width, height = (max(1, round(side * side_px / short)) for side in image.size)
    return image.resize((width, height), _FILTER, reducing_gap=_REDUCING_GAP)


def _collapse_grey(image: Image.Image) -> Image.Image:
    """Store RGB whose channels are equal everywhere as grey: the same picture, a third of the work."""
    if image.mode == "L":
        return image
    red, green, blue = (band.tobytes() for band in image.split())
    return image.getchannel(0) if red == green == blue else image


def _spread(image: Image.Image) -> float:
    """The largest standard deviation among the channels, in grey levels of 255."""
    moments = image_moments(image)
    variances = (square - mean * mean for mean, square in zip(moments.mean, moments.square, strict=True))
    return 255.0 * max(max(variances), 0.0) ** 0.5


def _spacing_of(raw: RawImage, image: Image.Image) -> tuple[float, float] | None:
    """The spacing of the stored pixels: that of the source times the reduction, to a nanometre."""
    if raw.spacing_mm is None:
        return None
    row, column = raw.spacing_mm
    height, width = raw.pixels.shape[:2]
    return round(row * height / image.height, 6), round(column * width / image.width, 6)
