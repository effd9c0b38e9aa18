"""Deep: grey of more than 8 bits kept as it is, in 16 bits, with the way back to its units and a window to show it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.pack.pixels.tone import HIGH_PERCENT, LOW_PERCENT, Tone
from mermed.pack.pixels.window import LookupTable, Window, percentile_window
from mermed.pack.readers.raw import RawImage

MODALITIES = ("ct", "cxr")
TOP = 65535
AIR_HU = -1024
"""Where the stored 0 lies for HU that reach no lower."""


@dataclass(frozen=True, slots=True, eq=False)
class DeepGrey:
    """`pixels` (uint16) times the slope plus the intercept of `rescale` are the values; `window` shows them."""

    pixels: NDArray[np.uint16]
    rescale: tuple[float, float]
    window: tuple[float, float]


def is_deep(raw: RawImage, modality: str, depth: int) -> bool:
    """True when the options ask to keep the depth of an image of `modality`, and it has some."""
    return depth == 16 and modality in MODALITIES and raw.source_bits > 8 and raw.scale != "display"


def keep_depth(raw: RawImage, tone: Tone, is_inverted: bool) -> DeepGrey:
    """`raw` in 16 bits. Whole numbers that fit are kept exactly; others are spread over the 16 bits.

    An inverted image is mirrored between its least and its greatest value, so that white is high; its window and its
    rescale speak of the mirrored values. Padding becomes the least value.
    """
    valid = raw.pixels if raw.padding is None else raw.pixels[~raw.padding]
    low, high = float(valid.min()), float(valid.max())
    values, window = raw.pixels, _shown(raw, tone, valid)
    if is_inverted:
        values = low + high - values.astype(np.float64)
        window = replace(window, centre=low + high - window.centre)
    slope, intercept = _rescale(low, high, valid.dtype.kind in "iu")
    stored = np.clip(np.rint((values.astype(np.float64) - intercept) / slope), 0, TOP)
    if raw.padding is not None:
        stored[raw.padding] = 0
    return DeepGrey(stored.astype(np.uint16), (slope, intercept), (window.centre, window.width))


def _rescale(low: float, high: float, is_whole: bool) -> tuple[float, float]:
    """Slope and intercept from 16 bits to values between `low` and `high`."""
    base = 0.0 if low >= 0 else min(low, AIR_HU)
    if is_whole and high - base <= TOP:
        return 1.0, base
    return max(high - low, 1e-9) / TOP, low


def _shown(raw: RawImage, tone: Tone, valid: NDArray[Any]) -> Window:
    """The straight window that comes nearest to the tone of an 8-bit image: its own, unless it is a table."""
    if isinstance(tone.curve, LookupTable) or tone.curve is None:
        found = percentile_window(valid, LOW_PERCENT, HIGH_PERCENT)
        return found or Window(float(valid.min()), 1.0)
    if tone.curve.function != "LINEAR":
        return Window(tone.curve.centre, tone.curve.width)
    return Window(tone.curve.centre - 0.5, max(tone.curve.width - 1.0, 1e-6))
