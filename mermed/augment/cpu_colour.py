"""Colour and blur of one view on a CPU core, in float32 grey levels with OpenCV.

Nothing is rounded between operations: on current CPUs the float kernels are as fast as those for bytes. A view whose
channels are equal is one plane: there saturation, hue and removal of colour change nothing and the rest costs a third.
The operations have torchvision's semantics; against it each differs by less than 0.05 grey levels, but for the
blur, whose kernel ends at three standard deviations (0.05 in the mean, less than 1 anywhere).
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from mermed.augment.cpu_view import Levels, Row
from mermed.augment.draw import GREY_SHARES, ORDERS, Field
from mermed.augment.stain import is_stained, stain_maps

_WHITE = 255.0
_GREY = np.array([GREY_SHARES], np.float32)
_ORDERS: list[list[int]] = ORDERS.tolist()


def recolour(levels: Levels, row: Row, stain: Float32[np.ndarray, "3 4"] | None) -> Levels:
    """Stain, jitter in the row's order, gamma, inversion, grey, blur, solarisation; `levels` may be written to.

    `stain` is the view's of `view_stains`. Returns one plane if all three would be equal.
    """
    if stain is not None:
        levels = _stained(levels, stain)
    for number in _ORDERS[int(row[Field.ORDER])]:
        field, neutral, jitter = _JITTERS[number]
        if row[field] != neutral:
            levels = jitter(levels, row[field])
    if row[Field.GAMMA] != 1.0:
        levels = cv2.pow(levels, row[Field.GAMMA])
        levels *= np.float32(_WHITE ** (1.0 - row[Field.GAMMA]))
    if row[Field.INVERT]:
        levels = np.subtract(np.float32(_WHITE), levels, out=levels)
    if row[Field.GRAYSCALE] and levels.ndim == 3:
        levels = cv2.transform(levels, _GREY)
    if row[Field.BLUR_SIGMA_PX]:
        levels = _blurred(levels, row[Field.BLUR_SIGMA_PX])
    # a value from the middle on is inverted exactly when that makes it smaller
    return cv2.min(levels, np.subtract(np.float32(_WHITE), levels)) if row[Field.SOLARISE] else levels


def view_stains(draws: Float32[np.ndarray, "views fields"]) -> list[Float32[np.ndarray, "3 4"] | None]:
    """What `recolour` needs to jitter the stain of each view: a map of logarithms of grey levels, None to change none.

    With D = ln 255 - ln x the optical density of a level x and D' = M D + o (`stain.stain_maps`), the new level is
    exp(M ln x + (1 - M 1) ln 255 - o).
    """
    changing = is_stained(draws)
    if not changing.any():
        return [None] * len(draws)
    maps = stain_maps(draws)
    maps[:, :, 3] = (1.0 - maps[:, :, :3].sum(axis=2)) * math.log(_WHITE) - maps[:, :, 3]
    return [stain if changes else None for stain, changes in zip(maps, changing, strict=True)]


def write_view(
    levels: Levels, planes: Float32[np.ndarray, "3 side side"], scale: list[float], shift: list[float]
) -> None:
    """Write scale * level + shift of each channel to its plane; each plane must be contiguous."""
    if levels.ndim == 3:
        cv2.split(cv2.transform(levels, np.column_stack([np.diag(scale), shift]).astype(np.float32)), list(planes))
        return
    for channel, plane in enumerate(planes):
        cv2.addWeighted(levels, scale[channel], levels, 0.0, shift[channel], plane)


def _stained(levels: Levels, stain: Float32[np.ndarray, "3 4"]) -> Levels:
    if levels.ndim == 2:
        levels = cv2.merge([levels] * 3)
    # black has no finite density, so the darkest level is 1
    logarithms = cv2.log(np.clip(levels, 1.0, _WHITE, out=levels))
    levels = cv2.exp(cv2.transform(logarithms, stain))
    return np.clip(levels, 0.0, _WHITE, out=levels)


def _brightness(levels: Levels, factor: float) -> Levels:
    levels *= np.float32(factor)
    return _clipped(levels, factor)


def _contrast(levels: Levels, factor: float) -> Levels:
    means = cv2.mean(levels)
    mean = means[0] if levels.ndim == 2 else float(_GREY[0] @ means[:3])
    return _clipped(cv2.addWeighted(levels, factor, levels, 0.0, (1.0 - factor) * mean, levels), factor)


def _saturation(levels: Levels, factor: float) -> Levels:
    if levels.ndim == 2:
        return levels
    mix = factor * np.eye(3, dtype=np.float32) + np.float32(1.0 - factor) * _GREY
    return _clipped(cv2.transform(levels, mix), factor)


def _clipped(levels: Levels, factor: float) -> Levels:
    # a factor of 1 or less draws levels towards others of the same range
    return np.clip(levels, 0.0, _WHITE, out=levels) if factor > 1.0 else levels


def _hue(levels: Levels, turns: float) -> Levels:
    if levels.ndim == 2:
        return levels
    # hue in degrees; on the way back OpenCV wraps what lies above 360, but not what lies below 0
    colours = cv2.cvtColor(levels, cv2.COLOR_RGB2HSV)
    colours[..., 0] += np.float32(360.0 * (turns % 1.0))
    return cv2.cvtColor(colours, cv2.COLOR_HSV2RGB)


def _blurred(levels: Levels, sigma_px: float) -> Levels:
    reach_px = min(math.ceil(3.0 * sigma_px), len(levels) - 1)
    return cv2.GaussianBlur(levels, (2 * reach_px + 1,) * 2, sigma_px, borderType=cv2.BORDER_REFLECT_101)


_JITTERS: tuple[tuple[Field, float, Callable[[Levels, float], Levels]], ...] = (
    (Field.BRIGHTNESS, 1.0, _brightness),
    (Field.CONTRAST, 1.0, _contrast),
    (Field.SATURATION, 1.0, _saturation),
    (Field.HUE, 0.0, _hue),
)
"""The four jitters in the numbering of ORDERS, with the value at which each does nothing."""
