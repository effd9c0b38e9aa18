"""Perceptual hash: 256 bits that stay nearly the same when an image is stored again, resized, or made lighter.

The picture is averaged to 32 x 32 cells, and the bits are the signs of its 16 x 16 lowest cosine coefficients. All sums
are of whole numbers that floats hold exactly, so every machine and every BLAS gives the same bits. What it finds and
what it confuses, measured on real images, is in docs/duplicates.md.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HASH_BYTES = 32
HASH_BITS = 8 * HASH_BYTES
_CELLS, _WAVES = 32, 16
_CELL_LEVELS = 64
"""Steps a grey level of 255 is divided into before the transform."""
_COSINE_LEVELS = 2**13
_LUMA = np.array([77.0, 150.0, 29.0])
_LUMA_SUM = 256.0

DISTANCES = {"cfp": 15, "us": 27}
"""Bits in which two copies of one image may differ, where that is not the usual number (docs/duplicates.md)."""
DEFAULT_DISTANCE = 19


def distance_of(modality: str) -> int:
    """The number of differing bits up to which two images of `modality` count as near copies."""
    return DISTANCES.get(modality, DEFAULT_DISTANCE)


def perceptual_hash(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """The 32 bytes of an image, [H W] grey or [H W 3] RGB of uint8 or uint16; raises ValueError for anything else.

    Bit 16 * i + j from the left is the sign of the wave with i half-periods down and j across; the first (the mean) is
    always 0. An image mirrored left to right differs in the bits of `MIRROR_MASK` and, rounding apart, in no others.
    """
    waves = _cosines() @ _cells(pixels) @ _cosines().T
    bits = (waves > 0).ravel()
    bits[0] = False
    return np.packbits(bits).tobytes()


def _mirror_mask() -> bytes:
    """Waves with an odd number of half-periods across change their sign when left and right are exchanged."""
    odd = np.zeros((_WAVES, _WAVES), bool)
    odd[:, 1::2] = True
    return np.packbits(odd.ravel()).tobytes()


MIRROR_MASK = _mirror_mask()


def _cells(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """The mean grey of 32 x 32 equal cells, in whole steps of 1/64 level of an 8-bit image."""
    is_shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)) or not is_shaped or 0 in pixels.shape:
        raise ValueError(f"a perceptual hash needs uint8 or uint16 [H W] or [H W 3], not {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    top = np.iinfo(pixels.dtype).max
    # A float holds whole numbers to 2^24 exactly: enough for one column of bytes, not of 16-bit values.
    kind = np.float32 if top * height < 2**24 else np.float64
    flat = pixels.reshape(height, width * channels)  # H (W C)
    if height % _CELLS == 0 and top * height < 2**16 * _CELLS:
        # Whole rows of pixels in every row of cells: their sums are the same numbers, in a third of the time.
        rows = flat.reshape(_CELLS, -1, width * channels).sum(1, dtype=np.uint16) * float(_CELLS)  # 32 (W C)
    else:
        rows = (_overlaps(_CELLS, height).astype(kind) @ flat.astype(kind)).astype(np.float64)  # 32 (W C)
    columns = np.moveaxis(rows.reshape(_CELLS, width, channels), 2, 0)  # C 32 W
    sums = columns @ _overlaps(_CELLS, width).T  # C 32 32
    grey = np.tensordot(_LUMA, sums, 1) / _LUMA_SUM if channels == 3 else sums[0]
    return np.floor(grey * (255 * _CELL_LEVELS) / (top * height * width))


@lru_cache(maxsize=64)
def _overlaps(cells: int, side: int) -> NDArray[np.float64]:
    """How much of each of `side` pixels lies in each cell, in `cells`-ths of a pixel: whole numbers."""
    edges = np.arange(cells + 1) * side
    pixels = np.arange(side + 1) * cells
    overlap = np.minimum(edges[1:, None], pixels[None, 1:]) - np.maximum(edges[:-1, None], pixels[None, :-1])
    return np.maximum(overlap, 0).astype(np.float64)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float64]:
    """16 waves over 32 cells, rounded to whole numbers; symmetric or antisymmetric to the bit."""
    waves, cells = np.arange(_WAVES)[:, None], np.arange(_CELLS)[None]
    exact = np.cos(np.pi * waves * (2 * cells + 1) / (2 * _CELLS))
    return np.rint(_COSINE_LEVELS * exact)
