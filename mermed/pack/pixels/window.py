"""Grey curves: how values of a source become 8-bit grey. Windows (named, or from a header) and lookup tables."""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ConfigError

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
MAX_TABLE_ENTRIES = 2**17


@dataclass(frozen=True, slots=True)
class Window:
    """A window of `width` around `centre`, in the units of the source, with the functions of DICOM PS3.3 C.11.2.1.

    LINEAR is the standard's (c - 0.5, w - 1) form for header windows; LINEAR_EXACT maps centre +- width / 2 to the
    ends.
    """

    centre: float
    width: float
    function: Function = "LINEAR_EXACT"

    def curve(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grey in [0, 1] of `values`."""
        # A value far outside of a tiny window overflows to infinity, which is clipped like any other.
        with np.errstate(over="ignore"):
            return self._curve(values)

    def _curve(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.function == "SIGMOID":
            exponent = np.clip(-4.0 * (values - self.centre) / self.width, -700.0, 700.0)
            return 1.0 / (1.0 + np.exp(exponent))
        if self.function == "LINEAR":
            if self.width <= 1:
                return (values > self.centre - 0.5).astype(np.float64)
            return np.clip((values - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0.0, 1.0)
        return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A VOI lookup table: entry 0 belongs to the value `first`; values outside take the nearest end."""

    first: int
    entries: NDArray[Any]
    bits: int

    def curve(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grey in [0, 1] of `values`."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.clip(self.entries[index] / (2.0**self.bits - 1.0), 0.0, 1.0)


Curve = Window | LookupTable

NAMED_WINDOWS_HU = {
    "soft_tissue": Window(40.0, 400.0),
    "lung": Window(-600.0, 1500.0),
    "brain": Window(40.0, 80.0),
    "bone": Window(400.0, 1800.0),
    "blood": Window(75.0, 215.0),
}


def window_in_hu(name: str) -> Window:
    """The window of that name, or of that "centre/width" in HU, such as "-600/1500"; raises ConfigError."""
    if name in NAMED_WINDOWS_HU:
        return NAMED_WINDOWS_HU[name]
    try:
        centre, width = (float(number) for number in name.split("/"))
    except ValueError:
        centre = width = math.nan
    if math.isfinite(centre) and 0 < width < math.inf:
        return Window(centre, width)
    near = get_close_matches(name, NAMED_WINDOWS_HU, 1)
    raise ConfigError(
        "unknown CT window",
        expected=" | ".join(NAMED_WINDOWS_HU) + " | centre/width in HU, such as -600/1500",
        found=name,
        next_step=f"did you mean {near[0]}?" if near else None,
    )


def to_grey(values: NDArray[Any], curve: Curve) -> NDArray[np.uint8]:
    """The 8-bit grey of `values` through `curve`, rounded to the nearest level.

    Whole numbers of a small range go through a table of one entry per value, which is several times faster than
    arithmetic per pixel; the result is the same.
    """
    if np.issubdtype(values.dtype, np.integer) and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < min(MAX_TABLE_ENTRIES, values.size):
            table = _levels(np.arange(low, high + 1, dtype=np.float64), curve)
            return np.take(table, values if low == 0 else values.astype(np.int64) - low)
    return _levels(values.astype(np.float64), curve)


def _levels(values: NDArray[np.float64], curve: Curve) -> NDArray[np.uint8]:
    return np.rint(curve.curve(values) * 255.0).astype(np.uint8)


def percentile_window(values: NDArray[Any], low_percent: float, high_percent: float) -> Window | None:
    """The window between two percentiles of `values` (nearest rank, so it is exact and the same on every machine).

    None when both percentiles are equal: there is nothing to see.
    """
    flat = values.ravel()
    ranks = [round((flat.size - 1) * percent / 100.0) for percent in (low_percent, high_percent)]
    if flat.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        cumulative = np.cumsum(np.bincount(flat))
        low, high = (float(np.searchsorted(cumulative, rank, side="right")) for rank in ranks)
    else:
        part = np.partition(flat, ranks)
        low, high = float(part[ranks[0]]), float(part[ranks[1]])
    return Window((low + high) / 2.0, high - low) if high > low else None
