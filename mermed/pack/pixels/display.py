"""Display: a stored image as a screen shows it: 8 bits, through its window where 16 bits are stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.contract import SampleMeta
from mermed.pack.pixels.window import Window, to_grey


def to_display(image: Image.Image, meta: SampleMeta) -> Image.Image:
    """An 8-bit "L" or "RGB" image; 16-bit images go through `rescale` and `window` of their JSON."""
    if image.mode in ("L", "RGB"):
        return image
    pixels = np.asarray(image)
    slope, intercept = meta.rescale or (1.0, 0.0)
    low, high = float(pixels.min()) * slope + intercept, float(pixels.max()) * slope + intercept
    window = meta.window or ((low + high) / 2.0, max(high - low, 1.0))
    return Image.fromarray(show_deep(pixels, window, (slope, intercept)))


def show_deep(pixels: NDArray[Any], window: tuple[float, float], rescale: tuple[float, float]) -> NDArray[np.uint8]:
    """The 8-bit grey of 16-bit `pixels`: times the slope plus the intercept, through (centre, width)."""
    (centre, width), (slope, intercept) = window, rescale
    return to_grey(pixels, Window((centre - intercept) / slope, width / slope))
