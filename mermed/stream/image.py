"""One image: stored bytes to RGB pixels on a canvas, decoded at the lowest scale that is enough."""

import threading
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from jaxtyping import UInt8
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as image_ops

from mermed.contract import SampleMeta
from mermed.errors import SampleError
from mermed.stream.header import JPEG_MAGIC, PNG_MAGIC, Header

DCT_FACTORS = (8, 4, 2)
"""Reductions that a JPEG decoder does while it decodes, faster than decoding whole."""

_SCALED = np.rint(np.arange(2**16) / 257.0).astype(np.uint8)
_threads = threading.local()

Pixels = UInt8[np.ndarray, "height width 3"]


def decode_rgb(image: bytes, meta: SampleMeta | None = None) -> Pixels:
    """Decode JPEG or PNG bytes to RGB in [0, 255]; grey repeats. Raises SampleError on failure.

    16-bit grey is shown through the window of its `meta`; without one, its 16 bits are scaled to 8.
    """
    if image.startswith(JPEG_MAGIC):
        height, width = _jpeg_size(image)
        pixels = np.empty((height, width, 3), np.uint8)
        _decode_jpeg(image, pixels)
        return pixels
    return _decode_png(image, meta)


def decode_into(
    canvas: UInt8[np.ndarray, "side side 3"],
    image: bytes,
    meta: SampleMeta | None = None,
    *,
    enough_px: int | None = None,
    header: Header | None = None,
    deep: bool = False,
) -> tuple[int, int]:
    """Decode `image` to the top left of `canvas`; returns its (height, width) there. `header`, if known, saves a look.

    `deep` keeps the 16 bits of a 16-bit grey image: high byte in red and blue, low byte in green, no window applied.

    An image larger than the canvas is reduced with antialiasing, a smaller one is never enlarged. Where `enough_px`
    says which longer side is enough, a JPEG is decoded at a half, a quarter or an eighth as long as that much is left.
    Pixels of the canvas beyond the image stay as they are. Raises SampleError when the bytes do not decode.
    """
    side_px = canvas.shape[0]
    if deep:
        return _place_deep(canvas, _read_png(image, ImageReadMode.GRAY))
    if not image.startswith(JPEG_MAGIC):
        return _place(canvas, _decode_png(image, meta))
    height, width = header[:2] if header else _jpeg_size(image)
    factor = _dct_factor(max(height, width), min(enough_px, side_px)) if enough_px else 1
    if factor > 1:
        height, width = -(-height // factor), -(-width // factor)
    if width == side_px and height <= side_px:
        _decode_jpeg(image, canvas[:height], factor)
        return height, width
    pixels = _scratch(height, width)
    _decode_jpeg(image, pixels, factor)
    return _place(canvas, pixels)


def fitted(height: int, width: int, longest_px: int) -> tuple[int, int]:
    """The size of an image reduced so that its longer side is at most `longest_px`; smaller ones keep theirs."""
    longest = max(height, width)
    if longest <= longest_px:
        return height, width
    return max(1, round(height * longest_px / longest)), max(1, round(width * longest_px / longest))


def _dct_factor(longest_px: int, enough_px: int) -> int:
    """The largest reduction of a JPEG decoder that leaves a longer side of `enough_px`."""
    return next((factor for factor in DCT_FACTORS if -(-longest_px // factor) >= enough_px), 1)


def _place(canvas: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> tuple[int, int]:
    height, width = fitted(pixels.shape[0], pixels.shape[1], canvas.shape[0])
    if (height, width) != pixels.shape[:2]:
        # torch takes only memory it may write to, and a grey PNG is a view of one channel
        channels_first = torch.from_numpy(np.require(pixels, requirements="W")).permute(2, 0, 1)
        pixels = image_ops.resize(channels_first, [height, width], antialias=True).permute(1, 2, 0).numpy()
    canvas[:height, :width] = pixels
    return height, width


def _place_deep(canvas: npt.NDArray[np.uint8], pixels: npt.NDArray[Any]) -> tuple[int, int]:
    """Write values of 16 bits [1, height, width] to a canvas as two bytes, reduced in float where too large."""
    if pixels.dtype != np.uint16:
        raise SampleError("an image is not as deep as it should be", expected="16 bits", found=str(pixels.dtype))
    height, width = fitted(pixels.shape[1], pixels.shape[2], canvas.shape[0])
    values = pixels[0]
    if (height, width) != values.shape:
        exact = torch.from_numpy(pixels.astype(np.float32))
        reduced = image_ops.resize(exact, [height, width], antialias=True)[0].numpy()
        values = np.rint(reduced).clip(0, 2**16 - 1).astype(np.uint16)
    high = (values >> 8).astype(np.uint8)
    canvas[:height, :width, 0] = canvas[:height, :width, 2] = high
    canvas[:height, :width, 1] = values & 255
    return height, width


def _jpeg_size(image: bytes) -> tuple[int, int]:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(image)
    except ValueError as error:
        raise _undecodable(error) from None
    return int(height), int(width)


def _decode_jpeg(image: bytes, pixels: npt.NDArray[np.uint8], factor: int = 1) -> None:
    """Fill `pixels`, contiguous and of the size of the image over `factor`; grey repeats."""
    height, width = pixels.shape[:2]
    least = (0, 0) if factor == 1 else (height, width)
    try:
        made = simplejpeg.decode_jpeg(image, "RGB", min_height=least[0], min_width=least[1], buffer=pixels)
    except ValueError as error:
        raise _undecodable(error) from None
    if made.shape != pixels.shape:
        raise SampleError("a JPEG decodes to another size", expected=pixels.shape, found=made.shape)


def _scratch(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Memory of this thread for one image, used again for the next one."""
    size = height * width * 3
    held = getattr(_threads, "held", None)
    if held is None or held.size < size:
        held = _threads.held = np.empty(size, np.uint8)
    return held[:size].reshape(height, width, 3)


def window_shares(meta: SampleMeta) -> tuple[float, float] | None:
    """The lowest and highest stored value that the window of a 16-bit image shows, as shares of 65,535.

    They may lie outside [0, 1], and the lowest above the highest where the rescale is downward. None without a window.
    """
    if not (meta.window and meta.rescale):
        return None
    (centre, width), (slope, intercept) = meta.window, meta.rescale
    low, high = ((centre + end * width - intercept) / slope / 65535.0 for end in (-0.5, 0.5))
    return low, high


def _decode_png(image: bytes, meta: SampleMeta | None) -> npt.NDArray[np.uint8]:
    deep = (meta.window, meta.rescale) if meta and meta.window and meta.rescale else None
    pixels = _read_png(image, ImageReadMode.GRAY if deep else ImageReadMode.RGB)
    if pixels.dtype == np.uint16:
        pixels = np.take(_levels_of(*deep) if deep else _SCALED, pixels)
    height, width = pixels.shape[1:]
    return np.broadcast_to(pixels.transpose(1, 2, 0), (height, width, 3))


def _read_png(image: bytes, mode: ImageReadMode) -> npt.NDArray[Any]:
    """The values of a PNG, [channels, height, width], of 8 or 16 bits as they are stored."""
    if not image.startswith(PNG_MAGIC):
        raise SampleError("an image does not decode", expected="JPEG or PNG", found=f"{len(image)} other bytes")
    # torch wants memory it may write to; the copy costs a hundredth of the decode
    encoded = torch.frombuffer(bytearray(image), dtype=torch.uint8)
    try:
        return decode_image(encoded, mode).numpy()
    except RuntimeError as error:
        raise _undecodable(error) from None


@lru_cache(maxsize=256)
def _levels_of(window: tuple[float, float], rescale: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """The 8-bit grey of every 16-bit value, through a window (centre, width) in units of the rescaled values."""
    (centre, width), (slope, intercept) = window, rescale
    values = np.arange(2**16, dtype=np.float64) * slope + intercept
    return np.rint(np.clip((values - centre) / width + 0.5, 0.0, 1.0) * 255.0).astype(np.uint8)


def _undecodable(error: Exception) -> SampleError:
    first = str(error).splitlines() or [type(error).__name__]
    return SampleError("an image does not decode", found=first[0])
