"""Colour of drawn views in a DALI graph, by arithmetic on whole sequences of views, with torchvision's semantics.

DALI's own colour operations take one order for all, do contrast about 0.5 and hue as a linear turn in YIQ, which at a
tenth of a circle is 19 grey levels off. Arithmetic does none of that: each of four slots applies to every view the
jitter that its own order puts there, and hue is the turn in HSV, written without branches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from mermed.augment.draw import GREY_SHARES, ORDERS, Field
from mermed.augment.stain import DARKEST, is_stained, stain_maps
from mermed.dali import dali

NUM_SLOTS = ORDERS.shape[1]
_OWN, _TO_GREY, _TO_MEAN, _TURN = range(4)
_AFTER = NUM_SLOTS * 4
_GAMMA, _INVERT, _GRAYSCALE, _SOLARISE = range(_AFTER, _AFTER + 4)
_TINY = 1e-6
NO_BLUR_PX = 1e-3
"""DALI has no blur of 0; the kernel of this one is 1 in its middle and 0 beside it."""


def colour_factors(draws: Float32[np.ndarray, "batch views fields"]) -> Float32[np.ndarray, "batch views factors"]:
    """What each view's colours are multiplied and shifted by: per slot its own value, its grey, the view's mean grey
    and the turn of its hue, then gamma, inversion, greyscale and solarisation."""
    factors = np.zeros((*draws.shape[:2], _AFTER + 4), np.float32)
    order = ORDERS[draws[..., Field.ORDER].astype(np.int64)]
    for slot in range(NUM_SLOTS):
        chosen = order[..., slot]
        at = 4 * slot
        bright, contrast, saturation = (
            np.where(chosen == number, draws[..., field], 1.0)
            for number, field in enumerate((Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION))
        )
        factors[..., at + _OWN] = bright * contrast * saturation
        factors[..., at + _TO_GREY] = 1.0 - saturation
        factors[..., at + _TO_MEAN] = 1.0 - contrast
        factors[..., at + _TURN] = np.where(chosen == 3, draws[..., Field.HUE], 0.0)
    after = [Field.GAMMA, Field.INVERT, Field.GRAYSCALE, Field.SOLARISE]
    factors[..., _AFTER:] = draws[..., after]
    return factors


def stain_factors(draws: Float32[np.ndarray, "batch views fields"]) -> Float32[np.ndarray, "batch views 13"]:
    """The map of each view's optical density, 3 x 4 by rows, and whether the view is stained at all."""
    maps = stain_maps(draws).reshape(*draws.shape[:2], 12)
    return np.concatenate([maps, is_stained(draws)[..., None]], axis=-1).astype(np.float32)


def stained(views: Any, factors: Any) -> Any:
    """Graph part: `views` FHWC in [0, 1], stains changed; `factors` are `stain_factors` as F x 13 x 1 x 1 x 1."""
    fn, math = dali().fn, dali().math
    channels = _channels(views)
    density = [math.log(math.max(channel, DARKEST)) for channel in channels]
    made = []
    for row, channel in enumerate(channels):
        # both densities are negative logarithms, so only the offset changes its sign
        mixed = factors[:, 4 * row] * density[0] + factors[:, 4 * row + 1] * density[1]
        mixed = mixed + factors[:, 4 * row + 2] * density[2] - factors[:, 4 * row + 3]
        made.append(channel + factors[:, 12] * (math.clamp(math.exp(mixed), 0.0, 1.0) - channel))
    return fn.cat(*made, axis=3)


def coloured(views: Any, factors: Any, sigma_px: Any, *, has_hue: bool) -> Any:
    """Graph part: `views` FHWC in [0, 1] with jitters, gamma, inversion, grey, blur and solarisation applied.

    `factors` are those of `colour_factors`, as F x n x 1 x 1 x 1 where the views are; `sigma_px` is F on the CPU.
    """
    fn, math = dali().fn, dali().math
    channels = _channels(views)
    for slot in range(NUM_SLOTS):
        channels = _jittered(channels, [factors[:, 4 * slot + part] for part in range(4)], has_hue)
    gamma, invert, grayscale = (factors[:, number] for number in (_GAMMA, _INVERT, _GRAYSCALE))
    channels = [math.pow(channel, gamma) for channel in channels]
    channels = [channel * (1.0 - 2.0 * invert) + invert for channel in channels]
    grey = _grey(channels)
    channels = [channel + grayscale * (grey - channel) for channel in channels]
    views = fn.cat(*channels, axis=3)
    views = fn.gaussian_blur(views, sigma=fn.per_frame(sigma_px))
    return views + factors[:, _SOLARISE] * (views >= 0.5) * (1.0 - 2.0 * views)


def _jittered(channels: Sequence[Any], factors: Sequence[Any], has_hue: bool) -> list[Any]:
    """One slot: each view has one of brightness, contrast, saturation and hue; the others are neutral."""
    fn, math = dali().fn, dali().math
    grey = _grey(channels)
    mean = fn.reductions.mean(grey, axes=[1, 2, 3], keep_dims=True)
    shift = factors[_TO_GREY] * grey + factors[_TO_MEAN] * mean
    channels = [math.clamp(factors[_OWN] * channel + shift, 0.0, 1.0) for channel in channels]
    return _turned(channels, factors[_TURN]) if has_hue else channels


def _turned(channels: Sequence[Any], turn: Any) -> list[Any]:
    """The hue turned in HSV by a share of the circle; value and saturation stay.

    With k = (n + hue in sixths) mod 6, a channel is value - chroma * clamp(min(k, 4 - k), 0, 1); n is 5 for red, 3 for
    green, 1 for blue (the alternative form of HSV to RGB).
    """
    math = dali().math
    red, green, blue = channels
    value = math.max(math.max(red, green), blue)
    chroma = value - math.min(math.min(red, green), blue)
    is_red = red == value
    is_green = (green == value) * (red < value)
    is_blue = (red < value) * (green < value)
    numerator = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
    # two turns more, so that what follows is positive
    sixths = numerator / math.max(chroma, _TINY) + 2.0 * is_green + 4.0 * is_blue + (6.0 * turn + 12.0)
    turned = []
    for first in (5.0, 3.0, 1.0):
        place = (sixths + first) / 6.0
        place = 6.0 * (place - math.floor(place))
        turned.append(value - chroma * math.clamp(math.min(place, 4.0 - place), 0.0, 1.0))
    return turned


def _channels(views: Any) -> list[Any]:
    return [views[:, :, :, number : number + 1] for number in range(3)]


def _grey(channels: Sequence[Any]) -> Any:
    red, green, blue = (share * channel for share, channel in zip(GREY_SHARES, channels, strict=True))
    return red + green + blue
