"""How far one engine's view is from another's: two numbers, and a picture that shows where."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

AMPLIFIED = 8
"""Grey levels in the picture for one grey level of difference."""
_MIDDLE = 128.0

View = Float32[np.ndarray, "3 side side"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean and 99.9th percentile of the absolute difference of two views over pixels and channels, in grey levels."""

    mean: float
    p99_9: float


def difference(view: View, reference: View) -> Difference:
    """How far `view` is from `reference`; both in grey levels [0, 255] and not rounded."""
    apart = np.abs(view - reference)
    return Difference(mean=float(apart.mean()), p99_9=float(np.quantile(apart, 0.999)))


def difference_picture(view: View, reference: View) -> UInt8[np.ndarray, "3 side side"]:
    """`view` minus `reference`, AMPLIFIED times, around middle grey: darker where `view` is the darker one."""
    return (_MIDDLE + AMPLIFIED * (view - reference)).clip(0.0, 255.0).round().astype(np.uint8)
