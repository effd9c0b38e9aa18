"""Plain image files behind torch's DataLoader, decoded by PIL: how the released MerMED code reads its images."""

from pathlib import Path

import numpy as np
from PIL import Image

from peers import files
from peers.border import Opening

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


def open(out: Path, asked: Opening) -> files.LoaderSource:
    """One epoch; it has neither state nor mixing."""
    return files.open_files(out, decode_file, asked)
