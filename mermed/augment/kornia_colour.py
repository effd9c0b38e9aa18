"""Colour and blur of drawn views with Kornia: each operation runs on the rows that have it, and on no others.

Draws are host arrays, so which rows those are is known without asking the device. Values are in [0, 1]; the operations
have torchvision's semantics (they agree with `torchvision.transforms.v2.functional` to 0.05 grey levels).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import kornia
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from mermed.augment.draw import ORDERS, Field
from mermed.augment.extra import Extra
from mermed.augment.kornia_extra import extra_steps
from mermed.augment.stain import DARKEST, is_stained, stain_maps

Parameters = Float32[np.ndarray, "chosen fields"]
Operation = Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True, slots=True)
class ColourStep:
    """One operation and the rows of the views it applies to."""

    operation: Operation
    rows: Int64[np.ndarray, " chosen"]


def colour_steps(
    draws: Float32[np.ndarray, "rows fields"], blur_reach_px: int, extras: Sequence[Extra] = ()
) -> list[ColourStep]:
    """What to do to the views of `draws`, in order: stain, jitter in each row's own order, gamma, inversion, grey,
    extras, blur, solarisation. Operations no row has are left out."""
    steps = [ColourStep(_stain, np.flatnonzero(is_stained(draws)))]
    order = ORDERS[draws[:, Field.ORDER].astype(np.int64)]
    for place in range(order.shape[1]):
        for number, (field, neutral, operation) in enumerate(_JITTERS):
            chosen = (order[:, place] == number) & (draws[:, field] != neutral)
            steps.append(ColourStep(operation, np.flatnonzero(chosen)))

    def blur(pixels: Tensor, parameters: Parameters) -> Tensor:
        sigma = torch.from_numpy(parameters[:, [Field.BLUR_SIGMA_PX] * 2])
        reach_px = min(blur_reach_px, pixels.shape[-1] - 1)
        return kornia.filters.gaussian_blur2d(pixels, 2 * reach_px + 1, sigma)

    steps += [
        ColourStep(_gamma, np.flatnonzero(draws[:, Field.GAMMA] != 1.0)),
        ColourStep(_invert, np.flatnonzero(draws[:, Field.INVERT])),
        ColourStep(_grey, np.flatnonzero(draws[:, Field.GRAYSCALE])),
        *(ColourStep(operation, rows) for operation, rows in extra_steps(draws, extras)),
        ColourStep(blur, np.flatnonzero(draws[:, Field.BLUR_SIGMA_PX])),
        ColourStep(_solarise, np.flatnonzero(draws[:, Field.SOLARISE])),
    ]
    return [step for step in steps if len(step.rows)]


def apply_colour(
    pixels: Float[Tensor, "rows 3 side side"],
    draws: Float32[np.ndarray, "rows fields"],
    blur_reach_px: int,
    extras: Sequence[Extra] = (),
) -> None:
    """Change `pixels` in place as `draws` says; `blur_reach_px` is how far the widest blur of the policies looks."""
    steps = colour_steps(draws, blur_reach_px, extras)
    if not steps:
        return
    # one transfer for all index sets
    rows = torch.from_numpy(np.concatenate([step.rows for step in steps])).to(pixels.device, non_blocking=True)
    for step, index in zip(steps, rows.split([len(step.rows) for step in steps]), strict=True):
        pixels.index_copy_(0, index, step.operation(pixels.index_select(0, index), draws[step.rows]))


def blur_reach(largest_sigma_px: float) -> int:
    """Half the width of a blur's kernel: three standard deviations of the widest blur of a policy table."""
    return math.ceil(3.0 * largest_sigma_px)


def _brightness(pixels: Tensor, parameters: Parameters) -> Tensor:
    return kornia.enhance.adjust_brightness_accumulative(pixels, _column(parameters, Field.BRIGHTNESS))


def _contrast(pixels: Tensor, parameters: Parameters) -> Tensor:
    return kornia.enhance.adjust_contrast_with_mean_subtraction(pixels, _column(parameters, Field.CONTRAST))


def _saturation(pixels: Tensor, parameters: Parameters) -> Tensor:
    return kornia.enhance.adjust_saturation_with_gray_subtraction(pixels, _column(parameters, Field.SATURATION))


def _hue(pixels: Tensor, parameters: Parameters) -> Tensor:
    return kornia.enhance.adjust_hue(pixels, 2.0 * math.pi * _column(parameters, Field.HUE))


def _gamma(pixels: Tensor, parameters: Parameters) -> Tensor:
    return kornia.enhance.adjust_gamma(pixels, _column(parameters, Field.GAMMA))


def _invert(pixels: Tensor, _: Parameters) -> Tensor:
    return 1.0 - pixels


def _grey(pixels: Tensor, _: Parameters) -> Tensor:
    return kornia.color.rgb_to_grayscale(pixels).expand_as(pixels)


def _solarise(pixels: Tensor, _: Parameters) -> Tensor:
    return kornia.enhance.solarize(pixels, 0.5)


def _stain(pixels: Tensor, parameters: Parameters) -> Tensor:
    maps = torch.from_numpy(stain_maps(parameters)).to(pixels.device, non_blocking=True)
    density = pixels.clamp(min=DARKEST).log().neg()
    # three products instead of a matrix product: the same bits for every batch size, at any matmul precision
    # (rows, 3, 1, 1) * (rows, 1, side, side) -> (rows, 3, side, side)
    jittered = maps[:, :, 3, None, None].expand_as(pixels)
    for channel in range(3):
        jittered = torch.addcmul(jittered, maps[:, :, channel, None, None], density[:, channel, None])
    return jittered.neg().exp().clamp(0.0, 1.0)


def _column(parameters: Parameters, field: Field) -> Tensor:
    return torch.from_numpy(parameters[:, field].copy())


_JITTERS: tuple[tuple[Field, float, Operation], ...] = (
    (Field.BRIGHTNESS, 1.0, _brightness),
    (Field.CONTRAST, 1.0, _contrast),
    (Field.SATURATION, 1.0, _saturation),
    (Field.HUE, 0.0, _hue),
)
"""The four jitters in the numbering of ORDERS, with the value at which each does nothing."""
