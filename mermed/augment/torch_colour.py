"""Window, stain, colour, blur and normalisation of all views of a batch at once, each row with its own parameters.

Values are in [0, 1] and have torchvision's semantics. Which operations exist is decided once, from what the policies
can draw; each of them then runs on every row, and a row that does not have it carries the value at which the operation
does nothing. Views lie as [batch, views, row, channel, column], the layout in which both passes of a blur are products
without a copy.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from mermed.augment.draw import GREY_SHARES, ORDERS, Field, PolicyTable
from mermed.augment.policy import Normalisation
from mermed.augment.stain import DARKEST, is_stained, stain_maps
from mermed.errors import ConfigError

SAME_POLICIES = "build the engine with the policies that the views are drawn from"

_SHARPEST_SIGMA_PX = 1e-3
"""Stands for no blur: every weight but the middle one is zero."""
_JITTERS = ((Field.BRIGHTNESS, 1.0), (Field.CONTRAST, 1.0), (Field.SATURATION, 1.0), (Field.HUE, 0.0))
"""The four jitters in the numbering of ORDERS, with the value at which each does nothing."""

Views = Float[Tensor, "batch views side 3 side"]
Tones = Float32[Tensor, "batch views tones"]


class Tone(IntEnum):
    """The columns of a row of tones; blocks of several columns are named by their first."""

    MODALITY = 0
    DEEP = 1
    """1: the canvas holds 16 bits. This and the two columns that follow are the same in all views of an image."""
    DEEP_GAIN = 2
    """The widest window of an image's views: value * gain + offset is 0 at its lower and 255 at its upper end."""
    DEEP_OFFSET = 3
    GAIN = 4
    """From what was resampled, in [0, 255], to [0, 1] through the window of the view."""
    OFFSET = 5
    STAINED = 6
    STAIN = 7
    """A 3 x 4 map of optical densities, row by row."""
    GAMMA = 19
    INVERT = 20
    GRAYSCALE = 21
    BLUR_SHARPNESS = 22
    """1 / (2 sigma**2), per square pixel of the view."""
    SOLARISE = 23
    SCALE = 24
    """Normalisation: three factors, then three summands."""
    SHIFT = 27
    JITTER = 30
    """For each step of `jitter_slots`: share of the value and share of the grey, or the shift of hue and nothing."""


_CONTRAST_STEP, _HUE_STEPS, _NUM_STEPS = 5, (2, 8), 11
NUM_TONES = Tone.JITTER + 2 * _NUM_STEPS


@dataclass(frozen=True, slots=True)
class Operations:
    """Which operations some policy of a table can draw; the others are not part of the computation at all."""

    stain: bool
    jitters: tuple[int, ...]
    """Numbers of the jitters, in the numbering of ORDERS."""
    gamma: bool
    invert: bool
    grayscale: bool
    blur: bool
    solarise: bool
    steps: tuple[int, ...] = field(init=False)
    """The steps of `jitter_slots` that some order needs."""

    def __post_init__(self) -> None:
        # known before anything is compiled, which could not trace through numpy
        steps = tuple(int(step) for step in np.unique(jitter_slots(self.jitters)) if step >= 0)
        object.__setattr__(self, "steps", steps)

    @classmethod
    def of(cls, policies: PolicyTable) -> "Operations":
        """What `policies` can draw."""
        has_jitter = policies.column("jitter_p") > 0
        return cls(
            stain=bool((policies.column("hed_sigma") > 0).any()),
            jitters=tuple(
                number
                for number, (column, _) in enumerate(_JITTERS)
                if ((policies.column(column.name.lower()) > 0) & has_jitter).any()
            ),
            gamma=bool(((policies.column("gamma") != 1.0).any(axis=1) & has_jitter).any()),
            invert=bool((policies.column("invert_p") > 0).any()),
            grayscale=bool((policies.column("grayscale_p") > 0).any()),
            blur=bool((policies.column("blur_p") > 0).any()),
            solarise=bool((policies.column("solarise_p") > 0).any()),
        )

    def check(self, draws: Float32[np.ndarray, "batch views fields"]) -> None:
        """Raise ConfigError where `draws` holds an operation that the policies never draw."""
        absent = [name for name, is_drawn in _drawn(draws).items() if is_drawn and not getattr(self, name)]
        absent += [
            column.name.lower()
            for number, (column, neutral) in enumerate(_JITTERS)
            if number not in self.jitters and (draws[..., column] != neutral).any()
        ]
        if absent:
            raise ConfigError(
                "the draws hold operations that no policy of this engine can draw",
                found=", ".join(absent),
                next_step=SAME_POLICIES,
            )


def _drawn(draws: NDArray[np.float32]) -> dict[str, bool]:
    return {
        "stain": bool(is_stained(draws).any()),
        "gamma": bool((draws[..., Field.GAMMA] != 1.0).any()),
        "invert": bool(draws[..., Field.INVERT].any()),
        "grayscale": bool(draws[..., Field.GRAYSCALE].any()),
        "blur": bool(draws[..., Field.BLUR_SIGMA_PX].any()),
        "solarise": bool(draws[..., Field.SOLARISE].any()),
    }


def tones(
    draws: Float32[np.ndarray, "batch views fields"],
    modality: Int64[np.ndarray, " batch"],
    normalisation: Normalisation,
    operations: Operations,
) -> Float32[np.ndarray, "batch views tones"]:
    """What to do to the values of each view, as numbers that the device needs no decision for."""
    rows = np.zeros((*draws.shape[:2], NUM_TONES))
    rows[..., Tone.MODALITY] = modality[:, None]
    _write_window(rows, draws)
    rows[..., Tone.STAINED] = is_stained(draws)
    if operations.stain:
        rows[..., Tone.STAIN : Tone.STAIN + 12] = stain_maps(draws).reshape(*draws.shape[:2], 12)
    for tone in (Tone.GAMMA, Tone.INVERT, Tone.GRAYSCALE, Tone.SOLARISE):
        rows[..., tone] = draws[..., Field[tone.name]]
    sigma_px = np.maximum(draws[..., Field.BLUR_SIGMA_PX], _SHARPEST_SIGMA_PX)
    rows[..., Tone.BLUR_SHARPNESS] = 0.5 / sigma_px.astype(np.float64) ** 2
    mean, std = (values.astype(np.float64)[modality, None] for values in (normalisation.mean, normalisation.std))
    rows[..., Tone.SCALE : Tone.SCALE + 3] = 1.0 / std
    rows[..., Tone.SHIFT : Tone.SHIFT + 3] = -mean / std
    _write_jitters(rows, draws, operations.jitters)
    return rows.astype(np.float32)


def _write_window(rows: NDArray[np.float64], draws: NDArray[np.float32]) -> None:
    """Deep images are resampled in the widest window of their views: half floats then lose nothing that shows."""
    is_deep = draws[..., Field.DEEP] > 0
    low, high = draws[..., Field.WINDOW_LOW].astype(np.float64), draws[..., Field.WINDOW_HIGH].astype(np.float64)
    lowest, highest = low.min(axis=1, keepdims=True), high.max(axis=1, keepdims=True)
    rows[..., Tone.DEEP] = is_deep
    rows[..., Tone.DEEP_GAIN] = 255.0 / 65535.0 / (highest - lowest)
    rows[..., Tone.DEEP_OFFSET] = -255.0 * lowest / (highest - lowest)
    rows[..., Tone.GAIN] = np.where(is_deep, (highest - lowest) / (high - low), 1.0) / 255.0
    rows[..., Tone.OFFSET] = np.where(is_deep, (lowest - low) / (high - low), 0.0)


def jitter_slots(jitters: tuple[int, ...]) -> Int64[np.ndarray, "24 4"]:
    """The step at which each jitter of `jitters` comes in each of ORDERS; -1 for the others.

    Every order fits into the steps 0 to 10: two of brightness and saturation, hue, two of them; contrast; and the same
    again. So the mean of a view, which needs all of its pixels, is taken once, and hue computed twice instead of four
    times.
    """
    slots = np.full((len(ORDERS), len(_JITTERS)), -1)
    for row, order in enumerate(ORDERS):
        step = 0
        for number in (int(number) for number in order if number in jitters):
            if number == 1:
                step = _CONTRAST_STEP
            elif number == 3:
                step = _HUE_STEPS[step > _CONTRAST_STEP]
            slots[row, number] = step
            step += 1
    return slots


def _write_jitters(rows: NDArray[np.float64], draws: NDArray[np.float32], jitters: tuple[int, ...]) -> None:
    slots = jitter_slots(jitters)[draws[..., Field.ORDER].astype(np.int64)]
    # (batch, views, tones) -> (batch, views, steps, 2)
    steps = rows[..., Tone.JITTER :].reshape(*slots.shape[:2], _NUM_STEPS, 2)
    steps[..., 0] = 1.0
    steps[..., _HUE_STEPS, 0] = 0.0
    for number in jitters:
        drawn = draws[..., _JITTERS[number][0]].astype(np.float64)
        share = np.zeros_like(drawn) if number in (0, 3) else 1.0 - drawn
        values = np.stack([drawn, share], -1)[..., None, :]
        np.put_along_axis(steps, slots[..., number, None, None], values, axis=2)
    rows[..., Tone.JITTER :] = steps.reshape(*slots.shape[:2], -1)


def colour(views: Views, tones: Tones, operations: Operations, *, product_dtype: torch.dtype) -> Views:
    """Views as resampled, in [0, 255], to normalised ones in float32; blurs multiply in `product_dtype`."""
    pixels = (views.to(torch.float32) * _number(tones, Tone.GAIN)).add_(_number(tones, Tone.OFFSET)).clamp_(0.0, 1.0)
    if operations.stain:
        pixels = torch.where(_number(tones, Tone.STAINED) > 0, stain(pixels, tones), pixels)
    for step in operations.steps:
        pixels = jitter(pixels, tones, step, of_grey=2 in operations.jitters)
    if operations.gamma:
        pixels = pixels.pow(_number(tones, Tone.GAMMA))
    if operations.invert:
        pixels = torch.where(_number(tones, Tone.INVERT) > 0, 1.0 - pixels, pixels)
    if operations.grayscale:
        pixels = torch.where(_number(tones, Tone.GRAYSCALE) > 0, grey(pixels), pixels)
    if operations.blur:
        pixels = blur(pixels, tones, product_dtype)
    if operations.solarise:
        is_inverted = (_number(tones, Tone.SOLARISE) > 0) & (pixels >= 0.5)
        pixels = torch.where(is_inverted, 1.0 - pixels, pixels)
    return torch.addcmul(_triple(tones, Tone.SHIFT), pixels, _triple(tones, Tone.SCALE))


def grey(pixels: Views) -> Float[Tensor, "batch views side 1 side"]:
    """The grey value of each pixel."""
    red, green, blue = pixels.split(1, dim=-2)
    return GREY_SHARES[0] * red + GREY_SHARES[1] * green + GREY_SHARES[2] * blue


def jitter(pixels: Views, tones: Tones, step: int, *, of_grey: bool) -> Views:
    """One step of `jitter_slots`; rows that have nothing there keep their values."""
    first, share = (tones[..., Tone.JITTER + 2 * step + k, None, None, None] for k in (0, 1))
    if step in _HUE_STEPS:
        return torch.where(first != 0, turn_hue(pixels, first), pixels)
    result = pixels * first
    if step == _CONTRAST_STEP:
        result.add_(share * grey(pixels).mean((-3, -1), keepdim=True))
    elif of_grey:
        result.addcmul_(share, grey(pixels))
    return result.clamp_(0.0, 1.0)


def turn_hue(pixels: Views, turns: Float32[Tensor, "batch views 1 1 1"]) -> Views:
    """Values whose hue is turned by `turns` of the colour circle, with lightest and darkest channel kept (HSV).

    A channel at the corner c of the hexagon is v - chroma * clamp(min(k, 4 - k), 0, 1), k = (c + 6 hue) mod 6, c = 5,
    3, 1 for red, green, blue.
    """
    red, green, blue = pixels.split(1, dim=-2)
    lightest, darkest = pixels.amax(-2, keepdim=True), pixels.amin(-2, keepdim=True)
    chroma = lightest - darkest
    divisor = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        lightest == red,
        (green - blue) / divisor,
        torch.where(lightest == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    corner = 5.0 - 2.0 * torch.arange(3, device=pixels.device, dtype=pixels.dtype)[:, None]
    place = torch.remainder(hue + 6.0 * turns + corner, 6.0)
    return lightest - chroma * torch.minimum(place, 4.0 - place).clamp_(0.0, 1.0)


def stain(pixels: Views, tones: Tones) -> Views:
    """Values whose optical densities went through each row's map."""
    # (batch, views, 12) -> (batch, views, 1, 3, 1, 4)
    maps = tones[..., Tone.STAIN : Tone.STAIN + 12].unflatten(-1, (3, 4))[:, :, None, :, None]
    density = pixels.clamp(min=DARKEST).log_().neg_()
    # three products instead of a matrix product: the same bits for every batch size, at any matmul precision
    jittered = maps[..., 3].expand_as(pixels)
    for channel in range(3):
        jittered = torch.addcmul(jittered, maps[..., channel], density[..., channel : channel + 1, :])
    return jittered.neg().exp_().clamp_(0.0, 1.0)


def blur(pixels: Views, tones: Tones, product_dtype: torch.dtype) -> Views:
    """Gaussian blur along columns and rows as two products with one matrix per view; edges reflect."""
    batch, views, side = pixels.shape[:3]
    matrix = blur_weights(tones[..., Tone.BLUR_SHARPNESS], side).to(product_dtype).flatten(0, 1)
    # (rows, side * 3, side) @ (rows, side, side), then (rows, side, side) @ (rows, side, 3 * side)
    blurred = torch.bmm(pixels.to(product_dtype).reshape(batch * views, side * 3, side), matrix.transpose(1, 2))
    blurred = torch.bmm(matrix, blurred.view(batch * views, side, 3 * side))
    return blurred.view(batch, views, side, 3, side).to(torch.float32)


def blur_weights(sharpness: Float32[Tensor, "batch views"], side_px: int) -> Float32[Tensor, "batch views side side"]:
    """Weights of each pixel of a line in each blurred one; reflected at the edges, which do not repeat."""
    pixel = torch.arange(side_px, device=sharpness.device, dtype=sharpness.dtype)
    target, last = pixel[:, None], side_px - 1
    never = float("inf")
    images = (
        pixel - target,
        torch.where(pixel > 0, pixel + target, never),
        torch.where(pixel < last, 2 * last - pixel - target, never),
    )
    weights = torch.stack([(-sharpness[..., None, None] * image.square()).exp() for image in images]).sum(0)
    return weights / weights.sum(-1, keepdim=True)


def _number(tones: Tones, tone: Tone) -> Tensor:
    return tones[..., tone, None, None, None]


def _triple(tones: Tones, tone: Tone) -> Tensor:
    """Three columns as one number per channel."""
    return tones[..., None, tone : tone + 3, None]
