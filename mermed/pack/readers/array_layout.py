"""Array layout: how the images lie in an array, and one row of it as an image."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mermed.pack.readers.raw import Bounds, RawImage, RejectedInput, check_size

_COLOURS = (1, 3)
_KINDS = "uif"


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Images in an array of one of the shapes [H W], [H W C], [N H W], [N H W C] and [N C H W], with C of 1 or 3.

    `count` is N, and None for an array that is one image. `bits` is what a recipe says of values in wider numbers.
    """

    count: int | None
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_channel_first: bool
    bits: int | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: np.dtype[Any], bounds: Bounds, bits: int | None = None) -> Self:
        """The layout of an array by its header alone; raises RejectedInput for what is no image or beyond the bounds.

        A last axis of 1 or 3 is the colour, so three-dimensional arrays of another last axis are stacks of grey images.
        """
        if dtype.hasobject:
            raise RejectedInput("object_array", "an array of objects, which only unpickling reads; it is never done")
        if dtype.kind not in _KINDS or dtype.names:
            raise RejectedInput("no_decoder", "an array of neither whole nor real numbers")
        has_colour = len(shape) >= 3 and shape[-1] in _COLOURS
        is_channel_first = len(shape) == 4 and not has_colour and shape[1] in _COLOURS
        axes = len(shape) - (has_colour or is_channel_first)
        if axes not in (2, 3):
            raise RejectedInput("not_an_image", f"an array of {len(shape)} dimensions that hold no images")
        count, frame_shape = (None, shape) if axes == 2 else (next(iter(shape)), shape[1:])
        side = 1 if is_channel_first else 0
        check_size(frame_shape[side + 1], frame_shape[side], bounds)
        if count is not None and not 1 <= count <= bounds.max_frames:
            raise RejectedInput("limits", f"{count} images, and 1 to {bounds.max_frames} are read")
        if len(frame_shape) == 3 and frame_shape[0 if is_channel_first else 2] == 3:
            _check_colour(dtype, bits)
        return cls(count, frame_shape, dtype, is_channel_first, bits)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.frame_shape) * self.dtype.itemsize

    @property
    def total(self) -> int:
        """Images in the array."""
        return 1 if self.count is None else self.count

    def image(self, row: NDArray[Any], index: int) -> RawImage:
        """One row of the array as an image: grey of 8 bits for display, other grey with its values, NaN as padding."""
        pixels = np.moveaxis(row, 0, -1) if self.is_channel_first else row
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        frame = None if self.count is None else index
        bits = 8 * self.dtype.itemsize
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        if pixels.ndim == 3:
            levels = _bytes_of(native) if self.bits == 8 else (native >> (bits - 8)).astype(np.uint8)
            bits = self.bits or bits
            return RawImage(pixels=np.ascontiguousarray(levels), scale="display", source_bits=bits, frame=frame)
        if native.dtype == np.uint8:
            return RawImage(pixels=np.ascontiguousarray(native), scale="display", source_bits=8, frame=frame)
        missing = ~np.isfinite(native) if native.dtype.kind == "f" else None
        padding = missing if missing is not None and missing.any() else None
        values = np.ascontiguousarray(native if padding is None else np.where(padding, 0, native))
        return RawImage(pixels=values, scale="stored", source_bits=bits, padding=padding, frame=frame)


def _check_colour(dtype: np.dtype[Any], bits: int | None) -> None:
    """Colour in other numbers has no agreed white, so it is not guessed; a recipe may say that it has 8 bits."""
    if bits != 8 and (dtype.kind != "u" or dtype.itemsize > 2):
        raise RejectedInput("no_decoder", "colour in other numbers than 8 or 16 bits without a sign")


def _bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Whole numbers from 0 to 255, however they are stored, as bytes; raises RejectedInput for any other value."""
    levels = np.nan_to_num(values, nan=-1).clip(0, 255).astype(np.uint8)
    if not np.array_equal(levels, values):
        raise RejectedInput("range", "colour that is no whole number from 0 to 255, though it has 8 bits by its recipe")
    return levels
