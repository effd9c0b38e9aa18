"""Crop: which part of a picture is the picture: the disc of a fundus camera, the sector of an ultrasound screen.

Every rule looks at a copy of at most MAP_PX on its long side, and leaves an image whole when it is not sure.
"""

import numpy as np
from numpy.typing import NDArray

from mermed.pack.pixels.blobs import Blob, Mask, find_blobs, grow, shrink

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
FAINT_TOP = 64
MOST_FAINT = 0.01
"""Share of an ultrasound image that may be faint (brighter than black, darker than FAINT_TOP) outside of its sector."""
JOINED_SHARE = 0.15
"""Parts of an ultrasound image with at least this share of the largest one's area belong to the scan."""
LEAST_SIDE_PX = 32
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
    if kind is None or min(pixels.shape[:2]) < LEAST_SIDE_PX:
        return None
    step = -(-max(pixels.shape[:2]) // MAP_PX)
    cells = _cells(pixels, step)
    if _reaches_edges(cells > BLACK[kind]):
        return None
    blob = _border(cells) if kind == "border" else _sector(cells)
    if blob is None or not _is_plausible(blob, cells.size):
        return None
    box = _to_box(blob, step, pixels.shape)
    return (box, kind) if _gains(box, pixels.shape) else None


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


def _cells(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """The brightest channel of every `step`-th pixel."""
    cells = pixels[step // 2 :: step, step // 2 :: step]
    if cells.ndim == 3:
        return np.maximum(np.maximum(cells[..., 0], cells[..., 1]), cells[..., 2])
    return cells


def _reaches_edges(mask: Mask) -> bool:
    """True when the picture fills its frame on all sides: the usual case, told without looking further."""
    return all(edge.mean() > FULL_EDGE for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _border(cells: NDArray[np.uint8]) -> Blob | None:
    """The largest bright part without its threads: a disc on black, or what a dark frame leaves."""
    blobs = find_blobs(_open(cells > BLACK["border"], 1))
    return blobs[0] if blobs else None


def _sector(cells: NDArray[np.uint8]) -> Blob | None:
    """The scan among text, scales and icons: the largest bright part, with other large ones joined to it.

    Taking away threads takes away letters, and the depth of a scan that fades into the dark as well. Letters are
    bright, so where something faint was lost, the scan is looked for again with less taken away.
    """
    bright = cells > BLACK["sector"]
    found = _join_large(find_blobs(_open(_close(bright, 1), 2)))
    if found is None:
        return None
    faint = bright & (cells < FAINT_TOP)
    faint[found.top : found.bottom, found.left : found.right] = False
    if np.count_nonzero(faint) <= MOST_FAINT * cells.size:
        return found
    return _join_large(find_blobs(_open(_close(bright, 2), 1)))


def _join_large(blobs: list[Blob]) -> Blob | None:
    """The largest part, joined with every other one of at least JOINED_SHARE of its area."""
    if not blobs:
        return None
    found = blobs[0]
    for blob in blobs[1:]:
        if blob.area >= JOINED_SHARE * blobs[0].area:
            found = found.join(blob)
    return found


def _open(mask: Mask, times: int) -> Mask:
    """Without what is thinner than 2 `times` + 1 cells."""
    for change in (shrink,) * times + (grow,) * times:
        mask = change(mask)
    return mask


def _close(mask: Mask, times: int) -> Mask:
    """With gaps narrower than 2 `times` + 1 cells filled."""
    for change in (grow,) * times + (shrink,) * times:
        mask = change(mask)
    return mask


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
