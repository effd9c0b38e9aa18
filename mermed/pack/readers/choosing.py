"""Choosing: which frames of a volume, cine, video or stack are kept. Plain arithmetic, the same on every machine."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mermed.pack.readers.raw import RejectedFrame
from mermed.pack.treatment import Sampling

SMALL_SIDE = 32
"""Side, in pixels, of the grey reductions that frames are compared on."""


def spread(count: int, most: int) -> list[int]:
    """At most `most` of range(count), each in the middle of its equal share; all of them when there are no more."""
    kept = max(0, min(count, most))
    return [(2 * place + 1) * count // (2 * kept) for place in range(kept)]


def choose_slices(count: int, sampling: Sampling) -> list[int]:
    """The slices kept of a volume of `count`: both margins left out, then evenly spaced."""
    margin = int(sampling.margin * count)
    return [margin + place for place in spread(count - 2 * margin, sampling.max_frames)]


def changing(smalls: Iterable[NDArray[np.uint8]], least_change: float) -> list[int]:
    """The frames whose grey reduction differs from the last one kept by `least_change` levels in the mean.

    The first frame is always kept. `smalls` are SMALL_SIDE x SMALL_SIDE grey reductions of the frames in order.
    """
    kept: list[int] = []
    last: NDArray[np.int16] | None = None
    for number, small in enumerate(smalls):
        grey = small.astype(np.int16)
        if last is None or float(np.abs(grey - last).mean()) >= least_change:
            kept.append(number)
            last = grey
    return kept


def left_out(count: int, reason: str, detail: str) -> list[RejectedFrame]:
    """The row of `count` frames that a rule leaves out; none when there are none."""
    return [RejectedFrame(reason=reason, detail=detail, count=count)] if count > 0 else []
