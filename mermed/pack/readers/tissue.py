"""Tissue: which cells of a reduced slide show stained tissue, and which the ink of a pen. Colours in [0, 1]."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SATURATION_LIMITS = (0.05, 0.12)
"""Otsu's threshold is held between these: glass is below the first on every scanner, and stain above the second, so a
slide that is all tissue (or all glass) is not cut in half."""
_BINS = 256
_DARK = 0.1


def colours_of(rgb: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Hue in degrees, saturation and value of RGB pixels (Smith 1978); the hue of grey is 0."""
    red, green, blue = (rgb[..., channel] / 255.0 for channel in range(3))
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    span = high - low
    safe = np.where(span > 0, span, 1.0)
    sector = np.where(
        high == red,
        ((green - blue) / safe) % 6.0,
        np.where(high == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hue = np.where(span > 0, 60.0 * sector, 0.0)
    return hue, np.where(high > 0, span / np.where(high > 0, high, 1.0), 0.0), high


def otsu(values: Floats) -> float:
    """The threshold in [0, 1] that parts `values` into two classes of the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, _BINS, (0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2.0
    below, weighted = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return 0.0
    low, high = weighted[parted] / below[parted], (weighted[-1] - weighted[parted]) / above[parted]
    between = below[parted] * above[parted] * (high - low) ** 2
    return float(edges[1:][parted][np.argmax(between)])


def find_tissue(rgb: NDArray[np.uint8]) -> Mask:
    """Cells with stain: saturated, and not the black around the scan."""
    _, saturation, value = colours_of(rgb)
    threshold = float(np.clip(otsu(saturation), *SATURATION_LIMITS))
    return (saturation > threshold) & (value > _DARK)


def find_pen(rgb: NDArray[np.uint8]) -> Mask:
    """Cells with the ink of a green, blue, red or black marker: colours that no common stain has over a whole cell."""
    hue, saturation, value = colours_of(rgb)
    green = (hue >= 75) & (hue <= 165) & (saturation > 0.3)
    blue = (hue >= 180) & (hue <= 238) & (saturation > 0.6)
    red = ((hue <= 10) | (hue >= 350)) & (saturation > 0.8) & (value > 0.5)
    black = (value < 0.25) & (value > _DARK / 4) & (saturation < 0.4)
    return green | blue | red | black
