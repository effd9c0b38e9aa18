"""Hounsfield: CT values that no scanner measures, told apart from fill, and wrapped back where a recipe says so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.pack.readers.raw import RejectedInput

LOWEST_HU, HIGHEST_HU = -2048, 20_000
AIR_HU = -1024
"""Twelve bits without a sign hold, from here on, what a scanner measures."""
NEAR_WATER_HU = -100

Mask = NDArray[np.bool_] | None


def check_hounsfield(
    values: NDArray[Any], padding: Mask, span: float, *, can_wrap: bool, fix_sign: bool
) -> tuple[NDArray[Any], Mask]:
    """The values with what is out of range set right or marked as padding; raises RejectedInput "range".

    `span` is the width in HU of all values that the stored bits can tell apart; `can_wrap` says that they are whole, in
    steps of 1 HU and stored without a sign. Too high: above 20,000 HU, or above
    what `span` leaves when air is at -1024 and no value of the image is negative, which is how air looks that lost its
    sign (RSNA ICH). `fix_sign` takes such values one span lower. Too low: under -2048 HU. That is the fill around the
    scanned field when a corner of the image holds it, and becomes padding; elsewhere it is a sign from nowhere.
    """
    lowest, highest = values.min(), values.max()
    has_no_air = can_wrap and lowest > NEAR_WATER_HU
    ceiling = min(HIGHEST_HU, span + AIR_HU - 1) if has_no_air else HIGHEST_HU
    if lowest >= LOWEST_HU and highest <= ceiling:
        return values, padding
    is_outside = np.zeros(values.shape, np.bool_) if padding is None else padding
    high = (values > ceiling) & ~is_outside
    if high.any():
        if not (fix_sign and can_wrap):
            raise _out_of_range(int(high.sum()), f"above {ceiling:.0f}")
        values = np.where(high, _shifted(values, -span), values)
    low = (values < LOWEST_HU) & ~is_outside
    if not low.any():
        return values, padding
    if low[[0, 0, -1, -1], [0, -1, 0, -1]].any():
        return values, low | is_outside
    if not fix_sign:
        raise _out_of_range(int(low.sum()), f"under {LOWEST_HU}")
    return np.where(low, _shifted(values, span), values), padding


def _shifted(values: NDArray[Any], offset: float) -> NDArray[Any]:
    """`values` + `offset`, in a type that holds it."""
    return values + offset if values.dtype.kind == "f" else values.astype(np.int64) + int(offset)


def _out_of_range(count: int, where: str) -> RejectedInput:
    return RejectedInput("range", f"{count} pixels {where} HU: the sign or the intercept of the header is wrong")
