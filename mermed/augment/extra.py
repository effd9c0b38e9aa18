"""The transforms of Kornia that a run may add by name, what their one magnitude is, and how rows of draws hold them.

They are for trying things out: no policy has them, their probability is the same for every modality, and only the
reference engine does them. Listed is what Kornia offers as a function of the image and of a number that can be drawn
beforehand; noise is not, since it would have to be drawn on the device. numpy only: what they do is in
`kornia_extra.py`.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from mermed.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """One transform; its magnitude is uniform in [low, high), or a whole number from low to high."""

    name: str
    low: float
    high: float
    unit: str
    """What the magnitude is, in words."""
    whole: bool = False


EXTRAS = (
    Extra(name="equalize", low=0.2, high=1.0, unit="share of the equalised image in the view"),
    Extra(name="clahe", low=1.0, high=4.0, whole=True, unit="limit of the contrast of a tile, 4 x 4 tiles"),
    Extra(name="sigmoid", low=4.0, high=8.0, whole=True, unit="slope of the curve at mid grey"),
    Extra(name="posterize", low=4.0, high=7.0, whole=True, unit="bits that are kept"),
    Extra(name="sharpness", low=0.2, high=1.8, unit="factor, 1 changes nothing"),
    Extra(name="bilateral_blur", low=1.0, high=4.0, whole=True, unit="what counts as an edge, in 8 grey levels"),
    Extra(name="motion_blur", low=0.0, high=180.0, unit="direction in degrees, over 5 pixels of the view"),
    Extra(name="jpeg", low=30.0, high=95.0, unit="quality of the compression"),
)
"""In the order in which they are done: contrast, then sharpness, then what a camera or an archive adds."""


def extras_of(chances: Mapping[str, float]) -> tuple[Extra, ...]:
    """The transforms named in `chances`, in the order of EXTRAS; raises ConfigError for any other name or no chance."""
    known = [extra.name for extra in EXTRAS]
    for name, chance in chances.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"no extra transform '{name}'",
                where={"setting": f"augment.extra.{name}"},
                expected=" | ".join(known),
                next_step=f"did you mean 'augment.extra.{near[0]}'?" if near else "take one of those expected",
            )
        if not 0.0 <= chance <= 1.0:
            where = {"setting": f"augment.extra.{name}"}
            raise ConfigError("a view has a transform by chance", where=where, expected="0 to 1", found=chance)
    return tuple(extra for extra in EXTRAS if extra.name in chances)


def extras_drawn(
    rows: Float32[np.ndarray, "*rows fields"], extras: Sequence[Extra]
) -> Float32[np.ndarray, "*rows extras 2"]:
    """What rows of draws hold of `extras` in their last columns: whether a view has it (1 or 0), and its magnitude."""
    first = rows.shape[-1] - 2 * len(extras)
    return rows[..., first:].reshape(*rows.shape[:-1], len(extras), 2)


def extra_texts(row: Float32[np.ndarray, " fields"], extras: Sequence[Extra]) -> list[str]:
    """The extras of one row of draws in words, in the order in which they are done."""
    drawn = extras_drawn(row, extras)
    return [f"{extra.name} {value:.3g}" for extra, (is_on, value) in zip(extras, drawn, strict=True) if is_on]
