"""Draw the parameters of every view, as data: one row of numbers per image and view, which an engine then applies.

A number depends on (seed, slot, view, what it is for) and nothing else, so one sample replayed alone gives the row it
gave in its batch, whatever the batch, rank or thread. numpy only; there is no loop over images and no branch.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy.typing import NDArray

from mermed import keyed
from mermed.augment.extra import extras_of
from mermed.augment.foreground import shown_shares
from mermed.augment.policy import Policy, policy_for
from mermed.augment.policy_file import user_policies

NUM_ATTEMPTS = 10
"""Crops tried before the centre is taken, as in torchvision's RandomResizedCrop."""

ORDERS: Int64[np.ndarray, "24 4"] = np.array(list(itertools.permutations(range(4))), np.int64)
"""Row o lists, first to last, the four jitters of order o: 0 brightness, 1 contrast, 2 saturation, 3 hue."""

GREY_SHARES = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in a grey value (ITU-R BT.601, as torchvision rounds them)."""

Values = NDArray[np.float64]
Bound = NDArray[Any] | float | int


class Field(IntEnum):
    """The columns of a row of draws; each has a neutral value.

    Engines apply them in this order, except that the window of a deep canvas, a later addition, precedes the colours.
    """

    FRAME_HEIGHT_PX = 0
    """Height of the valid area of the canvas."""
    FRAME_WIDTH_PX = 1
    TOP_PX = 2
    """First row of the crop, in the valid area (in that area turned by the angle when BLACK_CORNERS is 1)."""
    LEFT_PX = 3
    HEIGHT_PX = 4
    WIDTH_PX = 5
    ANGLE_RAD = 6
    """Turn of the content, counter-clockwise as displayed; neutral 0."""
    BLACK_CORNERS = 7
    """1: the whole image is turned about its centre and black outside; 0: the crop about its own, mirrored outside."""
    FLIP_H = 8
    """1: left and right are swapped; neutral 0."""
    FLIP_V = 9
    """1: top and bottom are swapped; neutral 0."""
    QUARTER_TURNS = 10
    """Counter-clockwise quarter turns after the flips, 0 to 3; neutral 0."""
    HED_SCALE_H = 11
    """Factor on the concentration of haematoxylin; neutral 1. Eosin and the third stain (DAB) follow."""
    HED_SCALE_E = 12
    HED_SCALE_D = 13
    HED_SHIFT_H = 14
    """Shift of the concentration of haematoxylin, in natural optical density; neutral 0."""
    HED_SHIFT_E = 15
    HED_SHIFT_D = 16
    BRIGHTNESS = 17
    """Factor on every value; neutral 1."""
    CONTRAST = 18
    """Factor on the distance to the view's mean grey value; neutral 1."""
    SATURATION = 19
    """Factor on the distance to the pixel's grey value; neutral 1."""
    HUE = 20
    """Shift in turns of the colour circle, -0.5 to 0.5; neutral 0."""
    ORDER = 21
    """Row of ORDERS in which the four above are applied; 0 when all are neutral."""
    GAMMA = 22
    """Exponent of values in [0, 1]; neutral 1."""
    INVERT = 23
    """1: white becomes black; neutral 0."""
    GRAYSCALE = 24
    """1: colour is removed; neutral 0."""
    BLUR_SIGMA_PX = 25
    """Standard deviation of the Gaussian blur in pixels of the view; 0 is no blur."""
    SOLARISE = 26
    """1: values of 0.5 and above are inverted; neutral 0."""
    DEEP = 27
    """1: the canvas holds 16 bits, high byte in red and low byte in green, shown through the window that follows."""
    WINDOW_LOW = 28
    """The value that becomes black, as a share of 65,535; neutral 0. Looked at only where DEEP is 1."""
    WINDOW_HIGH = 29
    """The value that becomes white; neutral 1."""


NUM_FIELDS = len(Field)
_HED_SCALES = (Field.HED_SCALE_H, Field.HED_SCALE_E, Field.HED_SCALE_D)
_HED_SHIFTS = (Field.HED_SHIFT_H, Field.HED_SHIFT_E, Field.HED_SHIFT_D)


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """The policies of a run's modalities; a sample's modality number is a place in `policies`."""

    policies: tuple[Policy, ...]

    def column(self, name: str) -> NDArray[Any]:
        """The field `name` of every policy: shape [modalities] or, for a span or per-kind field, [modalities, n]."""
        return np.array([getattr(policy, name) for policy in self.policies])

    def largest_side(self, scale: str) -> float:
        """The longest side a crop of the span `scale` can have, as a share of the image's longer side."""
        areas = self.column(scale)[:, 1] * np.maximum(self.column("ratio")[:, 1], 1 / self.column("ratio")[:, 0])
        return min(1.0, math.sqrt(areas.max()))


def policy_table(
    preset: str, modalities: Sequence[str], rows: Mapping[str, Mapping[str, Any]] | None = None
) -> PolicyTable:
    """The policies of `modalities`, in that order: the users' `rows` of a policy file, else those of `preset`.

    Raises ConfigError for an unknown preset, for a modality without a policy and for a row that is not one.
    """
    own = user_policies(preset, rows or {})
    return PolicyTable(tuple(own.get(name) or policy_for(preset, name) for name in modalities))


def neutral_views(size_px: Int32[np.ndarray, "batch 2"], num_views: int) -> Float32[np.ndarray, "batch views fields"]:
    """Draws that change nothing: `num_views` views of each image's whole valid area (height, width)."""
    draws = np.zeros((len(size_px), num_views, NUM_FIELDS), np.float32)
    draws[..., [Field.FRAME_HEIGHT_PX, Field.FRAME_WIDTH_PX]] = size_px[:, None]
    draws[..., [Field.HEIGHT_PX, Field.WIDTH_PX]] = size_px[:, None]
    ones = *_HED_SCALES, Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION, Field.GAMMA, Field.WINDOW_HIGH
    draws[..., ones] = 1.0
    return draws


@dataclass(frozen=True, slots=True)
class _Dice:
    """Random numbers of every (image, view), each named by what it decides; `p` and bounds broadcast to both."""

    seed: int
    slot: NDArray[np.int64]
    view: NDArray[np.int64]

    def uniform(self, purpose: str, attempts: int = 0) -> Values:
        """Numbers in [0, 1): shape [batch, views], or [batch, views, attempts]."""
        stream = keyed.key("view", self.seed, purpose)
        if attempts:
            return keyed.uniform(stream, self.slot[:, None, None], self.view[:, None], np.arange(attempts))
        return keyed.uniform(stream, self.slot[:, None], self.view)

    def between(self, purpose: str, low: Bound, high: Bound, attempts: int = 0) -> Values:
        """Numbers in [low, high)."""
        return low + (high - low) * self.uniform(purpose, attempts)

    def coin(self, purpose: str, p: Bound) -> NDArray[np.bool_]:
        """True with probability p."""
        return self.uniform(purpose) < p

    def below(self, purpose: str, end: Bound) -> Values:
        """Whole numbers in [0, end)."""
        return np.floor(self.uniform(purpose) * end)


def draw_views(
    policies: PolicyTable,
    *,
    seed: int,
    extras: Mapping[str, float] | None = None,
    slot: Int64[np.ndarray, " batch"],
    modality: Int64[np.ndarray, " batch"],
    size_px: Int32[np.ndarray, "batch 2"],
    num_global: int,
    num_local: int,
    window: Float32[np.ndarray, "batch 2"] | None = None,
    content: Bool[np.ndarray, "batch rows columns"] | None = None,
) -> Float32[np.ndarray, "batch views fields"]:
    """Draw the views of a batch: axis 1 holds `num_global` global views and then `num_local` local ones.

    `extras` (name -> probability) appends two columns for each of those transforms, in the order of `extra.EXTRAS`:
    whether the view has it, and its magnitude.

    `size_px` is the valid (height, width) of each image; crops lie inside it. Columns are named by `Field`. The crop is
    torchvision's RandomResizedCrop: area uniform, ratio log-uniform, the first of ten attempts that fits, else the
    largest centred crop of an allowed ratio. Where `content` (which cells of a grid over the image show something) is
    given and the policy asks for a `foreground`, the first attempt is taken that fits and shows as much, else the one
    that fits and shows most; the turn of a crop is not looked at there. Rows of `window` (low and high, shares of
    65,535) that are not NaN become deep rows, each view with that window jittered as the policy says.
    """
    # row of every per-kind field: 0 for the first global view, 1 for the other global views, 2 for local views
    kind = np.repeat([0, 1, 2], [1, num_global - 1, num_local])
    dice = _Dice(seed, np.asarray(slot, np.int64), np.arange(num_global + num_local))
    values = {name: policies.column(name)[modality] for name in _COLUMNS}
    draws = neutral_views(size_px, len(kind)).astype(np.float64)
    _draw_crop(draws, dice, values, kind, content)
    _draw_turns(draws, dice, values)
    _draw_stain(draws, dice, values)
    _draw_jitter(draws, dice, values)
    draws = np.concatenate([draws, *_extra_columns(dice, extras or {})], axis=-1)
    _draw_finish(draws, dice, values, kind)
    if window is not None:
        _draw_window(draws, dice, values, np.asarray(window, np.float64))
    return draws.astype(np.float32)


_COLUMNS = tuple(name for name in Policy.__dataclass_fields__ if name not in ("reason", "source"))


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The crops tried for every view: sizes in pixels, and which fit into the image; all [batch, views, attempts]."""

    height: Values
    width: Values
    fits: NDArray[np.bool_]

    def of(self, images: NDArray[np.int64]) -> "_Attempts":
        return _Attempts(self.height[images], self.width[images], self.fits[images])


def _draw_crop(
    draws: Values,
    dice: _Dice,
    values: dict[str, NDArray[Any]],
    kind: NDArray[np.int64],
    content: NDArray[np.bool_] | None,
) -> None:
    frame_h, frame_w = draws[..., Field.FRAME_HEIGHT_PX], draws[..., Field.FRAME_WIDTH_PX]
    tried = _try_crops(draws, dice, values, kind)
    chosen = tried.fits.argmax(axis=-1)
    place = dice.uniform("top"), dice.uniform("left")
    if content is not None:
        aware = np.flatnonzero((values["foreground"] > 0) & content.any(axis=(1, 2)))
        some = _Dice(dice.seed, dice.slot[aware], dice.view)
        frame = frame_h[aware, :, None], frame_w[aware, :, None]
        shown = _choose_shown(frame, some, values["foreground"][aware], content[aware], tried.of(aware))
        chosen[aware], place[0][aware], place[1][aware] = shown
    found = tried.fits.any(axis=-1)
    central_h, central_w = _central_crop(frame_h, frame_w, values["ratio"][:, None])
    crop_h = np.where(found, np.take_along_axis(tried.height, chosen[..., None], -1)[..., 0], central_h)
    crop_w = np.where(found, np.take_along_axis(tried.width, chosen[..., None], -1)[..., 0], central_w)
    draws[..., Field.HEIGHT_PX], draws[..., Field.WIDTH_PX] = crop_h, crop_w
    top, left = np.floor(place[0] * (frame_h - crop_h + 1)), np.floor(place[1] * (frame_w - crop_w + 1))
    draws[..., Field.TOP_PX] = np.where(found, top, (frame_h - crop_h) // 2)
    draws[..., Field.LEFT_PX] = np.where(found, left, (frame_w - crop_w) // 2)


def _try_crops(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]], kind: NDArray[np.int64]) -> _Attempts:
    frame_h, frame_w = draws[..., Field.FRAME_HEIGHT_PX, None], draws[..., Field.FRAME_WIDTH_PX, None]
    # (batch, 2) each -> (batch, views, 2)
    scale = np.where((kind < 2)[:, None], values["global_scale"][:, None], values["local_scale"][:, None])
    log_ratio = np.log(values["ratio"])[:, None, None, :]
    share = dice.between("area", scale[..., None, 0], scale[..., None, 1], NUM_ATTEMPTS)
    ratio = np.exp(dice.between("ratio", log_ratio[..., 0], log_ratio[..., 1], NUM_ATTEMPTS))
    area = share * (frame_h * frame_w)
    width, height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    return _Attempts(height, width, (width > 0) & (height > 0) & (width <= frame_w) & (height <= frame_h))


def _choose_shown(
    frame: tuple[Values, Values], dice: _Dice, foreground: Values, content: NDArray[np.bool_], tried: _Attempts
) -> tuple[NDArray[np.int64], Values, Values]:
    """The attempt of each view that shows enough, or the most, and its place, down and right, as shares of the room."""
    frame_h, frame_w = frame
    room_h, room_w = dice.uniform("top of attempt", NUM_ATTEMPTS), dice.uniform("left of attempt", NUM_ATTEMPTS)
    height, width = np.clip(tried.height, 1, frame_h), np.clip(tried.width, 1, frame_w)
    top, left = np.floor(room_h * (frame_h - height + 1)), np.floor(room_w * (frame_w - width + 1))
    shown = shown_shares(content, top / frame_h, left / frame_w, height / frame_h, width / frame_w)
    # What does not fit comes last; what shows enough comes first and all alike, so that the first of those is taken.
    worth = np.where(tried.fits, np.minimum(shown, foreground[:, None, None]), -1.0)
    chosen = worth.argmax(axis=-1)
    down, right = (np.take_along_axis(room, chosen[..., None], -1)[..., 0] for room in (room_h, room_w))
    return chosen, down, right


def _central_crop(frame_h: Values, frame_w: Values, ratio: Values) -> tuple[Values, Values]:
    """Height and width of the largest crop whose ratio lies in the span `ratio` [..., 2]."""
    wanted = np.clip(frame_w / frame_h, ratio[..., 0], ratio[..., 1])
    height = np.minimum(frame_h, np.rint(frame_w / wanted))
    width = np.minimum(frame_w, np.rint(frame_h * wanted))
    return np.maximum(height, 1), np.maximum(width, 1)


def _draw_turns(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]]) -> None:
    reach = np.radians(values["rotation_deg"])[:, None]
    draws[..., Field.ANGLE_RAD] = dice.between("angle", -reach, reach)
    draws[..., Field.BLACK_CORNERS] = (values["corners"] == "black")[:, None]
    draws[..., Field.FLIP_H] = dice.coin("flip_h", values["flip_h_p"][:, None])
    draws[..., Field.FLIP_V] = dice.coin("flip_v", values["flip_v_p"][:, None])
    draws[..., Field.QUARTER_TURNS] = dice.below("quarter_turns", 4) * values["quarter_turns"][:, None]


def _draw_stain(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]]) -> None:
    sigma = values["hed_sigma"][:, None]
    for scale, shift in zip(_HED_SCALES, _HED_SHIFTS, strict=True):
        draws[..., scale] = dice.between(scale.name, 1.0 - sigma, 1.0 + sigma)
        draws[..., shift] = dice.between(shift.name, -sigma, sigma)


def _draw_jitter(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]]) -> None:
    is_on = dice.coin("jitter", values["jitter_p"][:, None])
    for factor in (Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION):
        reach = values[factor.name.lower()][:, None]
        drawn = dice.between(factor.name, np.maximum(0.0, 1.0 - reach), 1.0 + reach)
        draws[..., factor] = np.where(is_on, drawn, 1.0)
    hue = values["hue"][:, None]
    draws[..., Field.HUE] = np.where(is_on, dice.between("HUE", -hue, hue), 0.0)
    draws[..., Field.ORDER] = np.where(is_on, dice.below("order", len(ORDERS)), 0.0)
    # uniform in the logarithm, so that darker and brighter are equally likely
    exponent = np.log(values["gamma"])[:, None]
    draws[..., Field.GAMMA] = np.where(is_on, np.exp(dice.between("gamma", exponent[..., 0], exponent[..., 1])), 1.0)


def _extra_columns(dice: _Dice, chances: Mapping[str, float]) -> list[Values]:
    """Two columns [batch, views, 2] for each extra; 0 and 0 where it is off. Its dice are named by it alone."""
    columns = []
    for extra in extras_of(chances):
        is_on = dice.coin(f"extra {extra.name}", chances[extra.name])
        magnitude = dice.between(f"magnitude of {extra.name}", extra.low, extra.high + extra.whole)
        magnitude = np.floor(magnitude) if extra.whole else magnitude
        columns.append(np.stack([is_on, np.where(is_on, magnitude, 0.0)], axis=-1))
    return columns


def _draw_finish(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]], kind: NDArray[np.int64]) -> None:
    draws[..., Field.INVERT] = dice.coin("invert", values["invert_p"][:, None])
    draws[..., Field.GRAYSCALE] = dice.coin("grayscale", values["grayscale_p"][:, None])
    sigma = values["blur_sigma_px"][:, None]
    is_blurred = dice.coin("blur", values["blur_p"][:, kind])
    draws[..., Field.BLUR_SIGMA_PX] = np.where(is_blurred, dice.between("sigma", sigma[..., 0], sigma[..., 1]), 0.0)
    draws[..., Field.SOLARISE] = dice.coin("solarise", values["solarise_p"][:, kind])


def _draw_window(draws: Values, dice: _Dice, values: dict[str, NDArray[Any]], window: Values) -> None:
    is_deep = np.isfinite(window).all(axis=1, keepdims=True)
    low, high = np.where(is_deep, window, (0.0, 1.0)).T[..., None]
    shift, stretch = values["window_level"][:, None], values["window_width"][:, None]
    level = 0.5 * (low + high) + dice.between("window level", -shift, shift) * np.abs(high - low)
    half = 0.5 * (high - low) * np.exp(dice.between("window width", -stretch, stretch))
    draws[..., Field.DEEP] = is_deep
    draws[..., Field.WINDOW_LOW] = np.where(is_deep, level - half, 0.0)
    draws[..., Field.WINDOW_HIGH] = np.where(is_deep, level + half, 1.0)
