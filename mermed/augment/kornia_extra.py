"""What the extra transforms do, with Kornia: each runs on the rows that have it, as the other operations do.

Where Kornia takes one magnitude for a whole batch, or would wait for the device to take more, it is a whole number, and
rows of the same one are done together; so a view does not depend on its batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import kornia
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from mermed.augment.extra import Extra, extras_drawn

_TILES = (4, 4)
_KERNEL_PX = 5
_GREY_STEP = 8.0 / 255.0
"""Unit of the difference that counts as an edge."""
_SIGMA_PX = 1.5
"""Standard deviation of the bilateral blur in space."""

Transform = Callable[[Tensor, Tensor], Tensor]
"""Pixels in [0, 1] and the magnitude of each of their rows to pixels in [0, 1].

Magnitudes are on the host, where Kornia may look at them without waiting for the device."""


def extra_steps(
    draws: Float32[np.ndarray, "rows fields"], extras: Sequence[Extra]
) -> list[tuple[Callable[[Tensor, Any], Tensor], Int64[np.ndarray, " chosen"]]]:
    """What the extras do to the views of `draws`, in order, and to which rows; the second argument is not looked at."""
    steps = []
    for extra, drawn in zip(extras, np.moveaxis(extras_drawn(draws, extras), 1, 0), strict=True):
        chosen = np.flatnonzero(drawn[:, 0])
        magnitude = drawn[chosen, 1]
        groups = [magnitude == value for value in np.unique(magnitude)] if extra.whole else [magnitude == magnitude]
        for group in groups:
            steps.append((_with_magnitude(_TRANSFORMS[extra.name], magnitude[group]), chosen[group]))
    return steps


def _with_magnitude(transform: Transform, magnitude: Float32[np.ndarray, " chosen"]) -> Callable[[Tensor, Any], Tensor]:
    def apply(pixels: Tensor, _: Any) -> Tensor:
        return transform(pixels, torch.from_numpy(magnitude))

    return apply


def _there(magnitude: Tensor, pixels: Tensor) -> Tensor:
    return magnitude.to(pixels.device, non_blocking=True)


def _equalize(pixels: Tensor, share: Tensor) -> Tensor:
    return pixels.lerp(kornia.enhance.equalize(pixels), _there(share, pixels)[:, None, None, None])


def _clahe(pixels: Tensor, limit: Tensor) -> Tensor:
    return kornia.enhance.equalize_clahe(pixels, float(limit[0]), _TILES)


def _sigmoid(pixels: Tensor, slope: Tensor) -> Tensor:
    return kornia.enhance.adjust_sigmoid(pixels, gain=float(slope[0]))


def _posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    return kornia.enhance.posterize(pixels, _there(bits.int(), pixels))


def _sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    return kornia.enhance.sharpness(pixels, _there(factor, pixels))


def _bilateral_blur(pixels: Tensor, edge: Tensor) -> Tensor:
    # made on the device: Kornia would wait for a copy of a pair of numbers
    reach_px = torch.full((1, 2), _SIGMA_PX, device=pixels.device)
    return kornia.filters.bilateral_blur(pixels, _KERNEL_PX, float(edge[0]) * _GREY_STEP, reach_px)


def _motion_blur(pixels: Tensor, degrees: Tensor) -> Tensor:
    angle = _there(degrees, pixels)
    return kornia.filters.motion_blur(pixels, _KERNEL_PX, angle, torch.zeros_like(angle), mode="bilinear")


def _jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    return kornia.enhance.jpeg_codec_differentiable(pixels, quality).clamp(0.0, 1.0)


_TRANSFORMS: dict[str, Transform] = {
    "equalize": _equalize,
    "clahe": _clahe,
    "sigmoid": _sigmoid,
    "posterize": _posterize,
    "sharpness": _sharpness,
    "bilateral_blur": _bilateral_blur,
    "motion_blur": _motion_blur,
    "jpeg": _jpeg,
}
"""By the names of `extra.EXTRAS`."""
