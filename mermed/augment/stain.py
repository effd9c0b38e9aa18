"""Stain jitter of haematoxylin-eosin images as one 3 x 3 matrix and one offset per view.

Ruifrok and Johnston 2001 (Anal Quant Cytol Histol 23:291) write a pixel's optical density as the concentrations of
three stains times their colours, OD = c M. Tellez et al. 2019 (arXiv 1902.06543) change each concentration,
c' = c * scale + shift. Both are linear, so OD' = OD (M^-1 diag(scale) M) + shift M. numpy only.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32

from mermed.augment.draw import Field

_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STAINS: Float[np.ndarray, "3 3"] = _HED / np.linalg.norm(_HED, axis=1, keepdims=True)
"""Colour of haematoxylin, eosin and DAB in optical density, unit rows (Ruifrok and Johnston 2001)."""
DARKEST = 1.0 / 255.0
"""Floor of a value in [0, 1] whose optical density is taken: black has no finite one."""

_SCALES = [Field.HED_SCALE_H, Field.HED_SCALE_E, Field.HED_SCALE_D]
_SHIFTS = [Field.HED_SHIFT_H, Field.HED_SHIFT_E, Field.HED_SHIFT_D]


def is_stained(draws: Float32[np.ndarray, "*rows fields"]) -> Bool[np.ndarray, "*rows"]:
    """Which rows change a stain."""
    return (draws[..., _SCALES] != 1.0).any(axis=-1) | (draws[..., _SHIFTS] != 0.0).any(axis=-1)


def stain_maps(draws: Float32[np.ndarray, "*rows fields"]) -> Float32[np.ndarray, "*rows 3 4"]:
    """Maps [matrix | offset] of each row, from (red, green, blue, 1) in natural optical density to the jittered one."""
    scale, shift = draws[..., _SCALES].astype(np.float64), draws[..., _SHIFTS].astype(np.float64)
    matrix = np.linalg.inv(STAINS) @ (scale[..., None] * STAINS)
    offset = shift @ STAINS
    # densities are row vectors in the papers, columns here
    return np.concatenate([np.swapaxes(matrix, -1, -2), offset[..., None]], axis=-1).astype(np.float32)
