"""The images of the loader's benches: generated, of the entropy of real ones, encoded as the packer encodes."""

from pathlib import Path

import numpy as np
from PIL import Image

from mermed.pack.pixels.encode import encode_image

COLOUR, GREY = ("cfp", "derm", "path"), ("ct", "cxr", "oct", "us")
MODALITIES = tuple(sorted((*COLOUR, *GREY)))

_SLOPE, _CONTRAST, _CHROMA, _GRAIN = 1.8, 45.0, 0.25, 0.5
"""Chosen for the bits per pixel of real images as packed: 1.7 (chest films) to 3.6 (pathology) at sides of 109 to 512,
1.7 for chest films of 1024 px."""


def picture(side_px: int, colour: bool, seed: int) -> Image.Image:
    """A cloud with a spectrum of 1/f^1.8 and some grain; colour follows brightness, as in photographs of tissue."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None]) + 1 / side_px

    def cloud() -> np.ndarray:
        noise = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((side_px, side_px))) / frequency**_SLOPE)
        return noise / noise.std()

    grain = _GRAIN * generator.standard_normal((side_px, side_px))
    bright = 120 + _CONTRAST * cloud() + grain
    if not colour:
        return Image.fromarray(np.clip(bright, 0, 255).astype(np.uint8))
    tint = _CHROMA * _CONTRAST * cloud()
    pixels = np.stack([bright + 30 + tint, bright - 0.5 * tint, bright - 20 - tint], -1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_images(folder: Path, *, per_modality: int, side_px: int, copies: int = 1) -> None:
    """Write `<modality>-<number>.jpg` for seven modalities, three of them in colour, four grey (one-channel JPEGs).

    `copies` keys share one picture: what a picture costs to make is not what is measured.
    """
    folder.mkdir(parents=True)
    for place, modality in enumerate(MODALITIES):
        for first in range(0, per_modality, copies):
            seed = place * 1_000_000 + first
            encoded, extension = encode_image(picture(side_px, modality in COLOUR, seed), "jpeg")
            for number in range(first, min(first + copies, per_modality)):
                (folder / f"{modality}-{number:06d}.{extension}").write_bytes(encoded)


def mean_bytes(folder: Path) -> float:
    """Mean size of the files of a folder."""
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return sum(sizes) / len(sizes)
