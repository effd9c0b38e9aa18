"""Crop: which part of a picture is the picture: the disc of a fundus camera, the sector of an ultrasound screen.

Every rule looks at a copy of at most MAP_PX on its long side, and leaves an image whole when it is not sure.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.pack.blobs import Blob, Mask, find_blobs, grow, shrink

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""
MAP_PX = 64
BLACK = {"border": 10, "sector": 4}
"""The highest level of the brightest channel that counts as black: the depth of a scan is darker than any lens."""
MARGIN = 0.02
"""Share of the found part that is kept around it, on each side."""
LEAST_SHARE = 0.4
"""A crop that would keep less than this of the image is not made, unless what it keeps is solid."""
LEAST_SOLID_SHARE = 0.1
SOLID = 0.7
"""Share of its bounds that a solid part fills; a disc fills 0.785."""
FULL_EDGE = 0.9
"""An edge of the image that is bright along more than this share of it is no border."""
LEAST_GAIN = 0.03
"""A crop that takes away less than this of the image is not worth an edge."""
LEAST_REGION_SHARE = 0.05
KINDS = {"cfp": "border", "derm": "border", "us": "sector"}
"""Modality to the rule its images are cropped by; others are kept whole."""


def find_crop(pixels: NDArray[np.uint8], modality: str, region: Box | None = None) -> tuple[Box, str] | None:
    """The part of an 8-bit grey or RGB image to keep, and the name of the rule; None to keep it whole.

    A `region` that the file declares comes first, whatever the modality; one that lies outside of the image or is a
    sliver of it is not believed.
    """
    declared = _declared(region, pixels.shape) if region else None
    if declared:
        return (declared, "region") if _gains(declared, pixels.shape) else None
    kind = KINDS.get(modality)
    if kind is None or min(pixels.shape[:2]) < 16:
        return None
    step = -(-max(pixels.shape[:2]) // MAP_PX)
    mask = _bright_map(pixels, step, BLACK[kind])
    if _reaches_edges(mask):
        return None
    found = _border(mask) if kind == "border" else _sector(mask)
    box = found and _to_box(found, step, pixels.shape)
    return (box, kind) if box and _gains(box, pixels.shape) else None


def _declared(region: Box, shape: tuple[int, ...]) -> Box | None:
    """`region` cut to the image; None when too little is left of it."""
    top, left = (min(max(start, 0), length) for start, length in zip(region[:2], shape, strict=False))
    bottom, right = min(region[0] + region[2], shape[0]), min(region[1] + region[3], shape[1])
    height, width = bottom - top, right - left
    if min(height, width) < 1 or height * width < LEAST_REGION_SHARE * shape[0] * shape[1]:
        return None
    return top, left, height, width


def _gains(box: Box, shape: tuple[int, ...]) -> bool:
    return box[2] * box[3] <= (1 - LEAST_GAIN) * shape[0] * shape[1]


def _bright_map(pixels: NDArray[Any], step: int, black: int) -> Mask:
    """Where every `step`-th pixel is not black."""
    cells = pixels[step // 2 :: step, step // 2 :: step]
    if cells.ndim == 3:
        cells = np.maximum(np.maximum(cells[..., 0], cells[..., 1]), cells[..., 2])
    return cells > black


def _reaches_edges(mask: Mask) -> bool:
    """True when the picture fills its frame on all sides: the usual case, told without looking further."""
    return all(edge.mean() > FULL_EDGE for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _border(mask: Mask) -> Blob | None:
    """The largest bright part: a disc on black, or what a dark frame leaves."""
    blobs = find_blobs(grow(shrink(mask)))
    return blobs[0] if blobs and _is_plausible(blobs[0], mask.size) else None


def _sector(mask: Mask) -> Blob | None:
    """The scan among text, scales and icons: the largest bright part, with other large ones joined to it."""
    closed = shrink(shrink(grow(grow(mask))))
    blobs = find_blobs(grow(shrink(closed)))
    if not blobs:
        return None
    found = blobs[0]
    for blob in blobs[1:]:
        if blob.area >= 0.15 * blobs[0].area:
            found = found.join(blob)
    return found if _is_plausible(found, mask.size) else None


def _is_plausible(blob: Blob, size: int) -> bool:
    is_solid = blob.area >= SOLID * blob.box_area
    return blob.box_area >= (LEAST_SOLID_SHARE if is_solid else LEAST_SHARE) * size


def _to_box(blob: Blob, step: int, shape: tuple[int, ...]) -> Box:
    """The bounds of `blob` in pixels, with the margin, cut to the image."""
    height, width = (blob.bottom - blob.top) * step, (blob.right - blob.left) * step
    top = max(blob.top * step - round(MARGIN * height), 0)
    left = max(blob.left * step - round(MARGIN * width), 0)
    bottom = min(blob.bottom * step + round(MARGIN * height), shape[0])
    right = min(blob.right * step + round(MARGIN * width), shape[1])
    return top, left, bottom - top, right - left
