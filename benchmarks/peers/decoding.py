"""The one decode function of all contestants: simplejpeg, the fastest binding of libjpeg-turbo at hand."""

import numpy as np
import simplejpeg
from PIL import Image


def decode(encoded: bytes, side_px: int) -> np.ndarray:
    """RGB uint8 [S, S, 3] of a square JPEG; grey repeats, a larger image is reduced to `side_px`."""
    pixels = simplejpeg.decode_jpeg(encoded, "RGB")
    return pixels if pixels.shape[0] == side_px else reduce(pixels, side_px)


def decode_into(encoded: bytes, canvas: np.ndarray) -> None:
    """Decode a JPEG of the very size of `canvas`, uint8 [S, S, 3] and contiguous, into it."""
    simplejpeg.decode_jpeg(encoded, "RGB", buffer=canvas)


def reduce(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """An image reduced to `side_px` with antialiasing."""
    return np.asarray(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BILINEAR))
