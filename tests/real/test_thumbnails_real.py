"""Thumbnails of what readers give for real files of every format: always a picture, never an error."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mermed.errors import EnvironmentError_
from mermed.pack.pixels.thumbnail import SIDE_PX, thumbnail
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Treatment


def first_image(path):
    """The first picture of a file; None where it holds none or its reader is not installed."""
    try:
        return next(
            (item for item in read_frames(RawFile(path), Bounds(), Treatment()) if isinstance(item, RawImage)), None
        )
    except (RejectedInput, EnvironmentError_):
        return None


@pytest.mark.parametrize("folder", ["dicom", "raster", "volume"])
def test_every_real_picture_has_a_thumbnail_that_shows_something(folder, real_data):
    paths = sorted(path for path in (real_data / "formats" / folder).rglob("*") if path.is_file())
    raws = [raw for raw in map(first_image, paths) if raw is not None]
    assert len(raws) >= 2
    for raw in raws:
        with Image.open(io.BytesIO(thumbnail(raw.pixels))) as image:
            shown = np.asarray(image)
        assert max(shown.shape[:2]) <= SIDE_PX
        levels = raw.pixels if raw.padding is None else raw.pixels[~raw.padding]
        assert shown.std() > 1.0 or levels.std() == 0


def test_a_thumbnail_looks_like_its_picture_reduced_whole(real_data):
    """Skipping pixels first must not change what is seen: the same picture averaged over all of its pixels is close."""
    path = sorted((real_data / "real" / "cxr").rglob("*.png"))[0]
    raw = replace(first_image(path), padding=None)
    grey = raw.pixels if raw.pixels.ndim == 2 else raw.pixels.mean(2).astype(np.uint8)
    whole = Image.fromarray(grey)
    whole.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    with Image.open(io.BytesIO(thumbnail(grey))) as image:
        assert image.size == whole.size
        assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 4.0
