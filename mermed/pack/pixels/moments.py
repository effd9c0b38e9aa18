"""Moments: the mean and the second moment of an image per channel, exact, and their average over many images."""

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Channels = tuple[float, float, float]
_LEVELS = np.arange(256, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and mean square of one image's values in [0, 1], per RGB channel (grey repeats its value)."""

    mean: Channels
    square: Channels


def image_moments(image: Image.Image) -> Moments:
    """The moments of an 8-bit grey or RGB image, from its histogram: whole numbers until the last division."""
    return moments_of(level_counts(image))


def level_counts(image: Image.Image) -> NDArray[np.int64]:
    """How often each of 256 levels occurs in each channel of an 8-bit image, [channels 256]."""
    return np.array(image.histogram(), np.int64).reshape(-1, 256)  # (channels * 256) -> (channels, levels)


def moments_of(counts: NDArray[np.int64]) -> Moments:
    """The moments of an image whose channels have the levels `counts` [channels 256]."""
    pixels = int(counts[0].sum())
    means = [int(total) / (255 * pixels) for total in counts @ _LEVELS]
    squares = [int(total) / (255 * 255 * pixels) for total in counts @ _LEVELS**2]
    repeat = 3 // len(counts)
    return Moments(tuple(means * repeat), tuple(squares * repeat))  # type: ignore[arg-type]


class MomentTable:
    """The moments of many images, 48 bytes each, and what they average to."""

    def __init__(self) -> None:
        self._columns = [array("d") for _ in range(6)]

    def add(self, moments: Moments) -> None:
        """Take in one image."""
        for column, value in zip(self._columns, (*moments.mean, *moments.square), strict=True):
            column.append(value)

    def summary(self) -> dict[str, Any]:
        """`{"mean": [r, g, b], "std": [r, g, b], "images": n}` over images that count equally, whatever their size.

        Summed with math.fsum, so the order of the images does not change a bit.
        """
        count = len(self._columns[0])
        averages = [math.fsum(column) / count for column in self._columns] if count else [0.0] * 3 + [1.0] * 3
        mean, square = averages[:3], averages[3:]
        std = [math.sqrt(max(second - first * first, 0.0)) for first, second in zip(mean, square, strict=True)]
        return {"mean": mean, "std": std, "images": count}
