"""Plain image files behind torch's DataLoader, decoded by PIL: how the released MerMED code reads its images."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from peers import files

TITLE = "files + DataLoader, own decode (PIL)"
REQUIREMENTS = ()
SUPPORTS = files.SUPPORTS | {"own decode"}
prepare = files.prepare


def decode_file(path: Path, side_px: int) -> np.ndarray:
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    if pixels.size != (side_px, side_px):
        pixels = pixels.resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.array(pixels)


def open(
    out: Path,
    *,
    batch: int,
    workers: int,
    seed: int,
    side_px: int,
    rank: int = 0,
    num_ranks: int = 1,
    state: Any = None,
    shuffle: bool = True,
    mix: bool = False,
) -> files.LoaderSource:
    """One epoch; it has neither state nor mixing."""
    if state is not None or mix:
        raise NotImplementedError("a plain DataLoader has neither state nor mixing")
    sampling = {"num_replicas": num_ranks, "rank": rank, "shuffle": shuffle, "seed": seed}
    return files.open_files(out, partial(decode_file, side_px=side_px), batch=batch, workers=workers, sampling=sampling)
