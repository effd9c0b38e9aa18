"""Images, canvases and the plain parts that the tests of augmentation share."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, Position

Natural = Callable[[int, int, int], np.ndarray]


def _natural(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An RGB image [3, height, width] with hard edges and a spectrum that falls like our modalities'.

    The amplitude of theirs falls with frequency to the power of about 1.5 (25 to 29 dB over three octaves at 128 px).
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1.0

    def layer() -> np.ndarray:
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / frequency**1.5).real
        return (noise - noise.mean()) / noise.std()

    shared = layer()
    image = np.stack([128 + 40 * shared + 12 * layer() for _ in range(3)])
    image[:, height // 4 : height // 2, width // 3 : width // 2] += 45
    image[0, height // 2 :, : width // 5] -= 40
    return image.clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="session")
def natural() -> Natural:
    return _natural


@pytest.fixture(scope="session")
def make_canvases() -> Callable[..., CanvasBatch]:
    """Canvases of natural images of the given (height, width), on a square whose rest is `padding`."""

    def make(
        sizes: Sequence[tuple[int, int]], side_px: int, modality: Sequence[int] | None = None, padding: int = 0
    ) -> CanvasBatch:
        pixels = torch.full((len(sizes), 3, side_px, side_px), padding, dtype=torch.uint8)
        for row, (height, width) in enumerate(sizes):
            pixels[row, :, :height, :width] = torch.from_numpy(_natural(height, width, row))
        return CanvasBatch(
            pixels=pixels,
            size_px=torch.tensor(sizes, dtype=torch.int32),
            modality=torch.tensor(modality if modality is not None else [0] * len(sizes)),
            slot=np.arange(100, 100 + len(sizes)),
            meta=(),
            position=Position(0),
        )

    return make


@pytest.fixture(scope="session")
def plain() -> Normalisation:
    """Constants of seven modalities that leave values as they are."""
    return Normalisation(mean=np.zeros((7, 3), np.float32), std=np.ones((7, 3), np.float32))
