"""Whether contestants do the same work: their pixels against a plain decode, and their data against each other's."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from peers.border import Source
from peers.decoding import decode


def compared(source: Source, images: Path, batches: int, side_px: int) -> dict[str, Any]:
    """Over the first `batches` batches: the mean and the largest distance in grey levels, and the images seen.

    A source that reduces images further than to `side_px` gives their sizes as a third part of its batches.
    """
    worst, total, count = 0, 0.0, 0
    try:
        for pixels, keys, *rest in itertools.islice(source, batches):
            sides = [int(max(size)) for size in rest[0]] if rest else [side_px] * len(keys)
            for canvas, key, side in zip(height_width_colour(pixels), keys, sides, strict=True):
                plain = decode((images / f"{key}.jpg").read_bytes(), side)
                distance = np.abs(canvas[:side, :side].astype(np.int16) - plain)
                worst, total, count = max(worst, int(distance.max())), total + float(distance.mean()), count + 1
    finally:
        source.close()
    return {"mean_levels": total / max(1, count), "max_levels": worst, "images": count}


def digest_of(source: Source, batches: int) -> str:
    """The sha256 of the keys and pixels of the first `batches` batches."""
    digest = hashlib.sha256()
    try:
        for pixels, keys, *_ in itertools.islice(source, batches):
            digest.update(" ".join(keys).encode())
            digest.update(np.ascontiguousarray(height_width_colour(pixels)).data)
    finally:
        source.close()
    return digest.hexdigest()


def height_width_colour(pixels: Any) -> np.ndarray:
    """A batch as an array [B, S, S, 3], whatever library and order of axes it came in."""
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]):
        raise TypeError(f"a batch of canvases is uint8 [B, S, S, 3] or [B, 3, S, S], not {array.dtype} {array.shape}")
    return array if array.shape[3] == 3 else array.transpose(0, 2, 3, 1)
