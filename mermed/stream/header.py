"""What an image claims to be, read from its first bytes: checked against its JSON before a decoder reserves memory."""

import struct
from typing import NamedTuple

from mermed.contract import SampleMeta
from mermed.errors import SampleError

MAX_PIXELS = 2**28
"""The most pixels an image may claim: what `mermed-shard pack` reads at most, 0.8 GB once decoded."""

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_RGB = 0, 2
GREY_16 = "16-bit grey"
_PNG_KINDS = {(8, _PNG_GREY): "8-bit grey", (8, _PNG_RGB): "8-bit RGB", (16, _PNG_GREY): GREY_16}
JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_COMPONENTS = {1: "8-bit grey", 3: "8-bit RGB"}
_SOF_OF_HUFFMAN = (0xC0, 0xC1, 0xC2)
_SOF_OF_OTHERS = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_SCAN, _END = 0xDA, 0xD9


class Header(NamedTuple):
    """The size of an image in pixels, and whether it is 8-bit grey, 8-bit RGB or 16-bit grey."""

    height: int
    width: int
    kind: str


def check_header(image: bytes, meta: SampleMeta, *, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of an image of the size and kind that a shard may hold; read before it is decoded, in microseconds.

    Raises SampleError for bytes that are neither JPEG nor PNG, for a kind outside the contract (CMYK, palette, alpha,
    12 bits, lossless or arithmetic JPEG), for another size than `meta` says, and for more than `max_pixels`.
    """
    header = read_header(image)
    height, width, _ = header
    if (height, width) != (meta.height, meta.width):
        raise SampleError(
            "an image is not of the size that its JSON says",
            expected=f"{meta.width} x {meta.height} pixels",
            found=f"{width} x {height}",
        )
    if height * width > max_pixels:
        raise SampleError("an image claims too many pixels", expected=f"{max_pixels:,} at most", found=height * width)
    return header


def read_header(image: bytes) -> Header:
    """Size and kind of a JPEG or PNG; raises SampleError for anything else."""
    if image.startswith(JPEG_MAGIC):
        return _jpeg_header(image)
    if image.startswith(PNG_MAGIC):
        return _png_header(image)
    raise SampleError("bytes are no image", expected="JPEG or PNG", found=f"{len(image)} bytes of another kind")


def _png_header(image: bytes) -> Header:
    if len(image) < 33 or image[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise SampleError("a PNG has no header", expected="IHDR first", found="another chunk, or the end")
    width, height, depth, colour = struct.unpack(">IIBB", image[16:26])
    return _header(height, width, _PNG_KINDS.get((depth, colour)), f"PNG of {depth} bits, colour type {colour}")


def _jpeg_header(image: bytes) -> Header:
    """The first frame header, found by stepping over the segments before it."""
    at, size = 2, len(image)
    while at + 4 <= size and image[at] == 0xFF:
        marker = image[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _SOF_OF_HUFFMAN and at + 10 <= size:
            precision, height, width, components = struct.unpack(">BHHB", image[at + 4 : at + 10])
            kind = _JPEG_COMPONENTS.get(components) if precision == 8 else None
            return _header(height, width, kind, f"JPEG of {components} components of {precision} bits")
        elif marker in _SOF_OF_OTHERS:
            return _header(0, 0, None, "lossless, differential or arithmetic JPEG")
        elif marker in (_SCAN, _END):
            break
        else:
            at += 2 + max(2, int.from_bytes(image[at + 2 : at + 4], "big"))
    raise SampleError("a JPEG has no frame header", expected="a frame before the first scan", found=f"byte {at}")


def _header(height: int, width: int, kind: str | None, found: str) -> Header:
    if kind is None:
        raise SampleError(
            "an image is of a kind that no shard may hold",
            expected="8-bit grey or RGB, or 16-bit grey PNG",
            found=found,
        )
    if not height or not width:
        raise SampleError("an image has no pixels", expected="a size of 1 or more", found=f"{width} x {height}")
    return Header(height, width, kind)
