"""Tone: what the grey values of one image mean, and the curve that makes 8 bits of them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.pack.options import PackOptions
from mermed.pack.pixels.window import Curve, LookupTable, Window, percentile_window, window_in_hu
from mermed.pack.readers.raw import RawImage, RejectedInput
from mermed.pack.treatment import Treatment

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
HU_RANGE = (-4096, 20000)
"""Values outside of it are no attenuation of anything."""
MOST_OUTSIDE = 0.01
"""Share of values that a treatment may leave outside of the range it states; more, and it is the wrong treatment."""


@dataclass(frozen=True, slots=True)
class Tone:
    """The curve of one image, None where its values are for display already, and the name of the rule that chose it."""

    curve: Curve | None = None
    step: str = ""


def understand(raw: RawImage, treatment: Treatment) -> RawImage:
    """`raw` in HU where the treatment says that its 16-bit values are HU with an offset; raises RejectedInput."""
    if treatment.offset_hu is None or raw.scale == "hounsfield":
        return raw
    if raw.scale != "stored" or raw.pixels.dtype.kind not in "iu":
        raise RejectedInput("wrong_depth", f"HU with an offset need 16 bits, and the file has {raw.source_bits}")
    offset = treatment.offset_hu
    values = raw.pixels.astype(np.int32) + int(offset) if float(offset).is_integer() else raw.pixels + offset
    _check_range(values, HU_RANGE, "HU")
    return replace(raw, pixels=values, scale="hounsfield", notes=(*raw.notes, f"offset_hu:{offset:g}"))


def choose_tone(raw: RawImage, modality: str, options: PackOptions, treatment: Treatment) -> Tone:
    """The tone of one grey image; raises RejectedInput.

    - CT in HU: one window for the whole collection or of the treatment, never the header's, so equal tissue is equal
      grey.
    - Anything else: the VOI of the header where there is one.
    - No VOI, and the treatment knows how many bits are used: all of them.
    - No VOI and no known unit: the 0.5 and 99.5 percentiles. No unit is guessed; the window is stored with the sample.
    """
    if raw.scale == "hounsfield" and (modality == "ct" or treatment.window):
        name = treatment.window or options.ct_window
        return Tone(window_in_hu(name), f"window:{name}")
    if raw.voi is not None and modality != "ct":
        return Tone(raw.voi, "table:header" if isinstance(raw.voi, LookupTable) else "window:header")
    if raw.scale == "display":
        return Tone()
    values = raw.pixels if raw.padding is None else raw.pixels[~raw.padding]
    if treatment.bits is not None and raw.pixels.dtype.kind in "iu":
        top = 2**treatment.bits - 1
        _check_range(values, (0, top), f"{treatment.bits} bits")
        return Tone(Window(top / 2.0, float(top)), f"bits:{treatment.bits}")
    window = percentile_window(values, LOW_PERCENT, HIGH_PERCENT) if values.size else None
    if window is None:
        raise RejectedInput("blank", "99 % of the pixels are equal")
    return Tone(window, "window:percentile")


def _check_range(values: NDArray[Any], bounds: tuple[int, int], unit: str) -> None:
    """Refuse values that do not lie where the treatment says; a few may, such as letters burned in."""
    outside = np.count_nonzero(values < bounds[0]) + np.count_nonzero(values > bounds[1])
    if outside > MOST_OUTSIDE * values.size:
        share = 100.0 * outside / values.size
        raise RejectedInput("range", f"{share:.0f} % of the values are no {unit}: the recipe does not fit this file")
