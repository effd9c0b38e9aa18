"""Float TIFF: uncompressed single-channel 64-bit float TIFFs, which Pillow does not open."""

from typing import Any, BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from mermed.pack.readers.raw import Bounds, RawImage, RejectedInput, check_size

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS = 256, 257, 258, 259, 273
_SAMPLES, _COUNTS, _SAMPLE_FORMAT, _SUB_IFDS = 277, 279, 339, 330
_UNCOMPRESSED, _IEEE_FLOAT = 1, 3
LARGEST = 1e30
"""Values from here on, infinity and NaN mark what was not measured."""


def read_float64_tiff(stream: BinaryIO, bounds: Bounds) -> RawImage:
    """Read a TIFF of float64 values in strips; raises RejectedInput for every other kind of TIFF."""
    stream.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(header := stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    width, height = _number(tags, _WIDTH), _number(tags, _HEIGHT)
    kind = (_number(tags, _BITS), _number(tags, _SAMPLE_FORMAT), _number(tags, _COMPRESSION, _UNCOMPRESSED))
    if kind != (64, _IEEE_FLOAT, _UNCOMPRESSED) or _number(tags, _SAMPLES, 1) != 1:
        raise RejectedInput("no_decoder", "a TIFF of this sample format is not supported")
    if tags.next or _SUB_IFDS in tags:
        raise RejectedInput("multi_frame", "a TIFF of several pages where one image was expected", bin="excluded")
    check_size(width, height, bounds)
    strips = []
    for offset, count in zip(_numbers(tags, _OFFSETS), _numbers(tags, _COUNTS), strict=True):
        stream.seek(offset)
        strips.append(stream.read(min(count, width * height * 8)))
    content = b"".join(strips)
    if len(content) != width * height * 8:
        raise RejectedInput("truncated", f"{len(content)} bytes of pixels, {width * height * 8} expected")
    values = np.frombuffer(content, "<f8" if header[:2] == b"II" else ">f8").reshape(height, width)
    missing = ~(np.abs(values) < LARGEST)
    pixels = np.where(missing, 0.0, values)
    return RawImage(pixels=pixels, scale="stored", source_bits=64, padding=missing if missing.any() else None)


def _numbers(tags: Any, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(int(entry) for entry in value) if isinstance(value, tuple) else (int(value),)


def _number(tags: Any, tag: int, default: int = 0) -> int:
    return next(iter(_numbers(tags, tag)), default)
