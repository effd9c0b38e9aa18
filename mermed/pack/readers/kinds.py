"""Kinds: what a raster container really holds: one image, a moving picture, a stack of pages, or a slide."""

import os
import struct
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from mermed.pack.readers.raw import RejectedInput
from mermed.pack.readers.sniff import Family

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WEBP_IS_ANIMATED = 0x02
_WIDTH, _HEIGHT, _DESCRIPTION, _TILE_WIDTH, _SUB_IFDS = 256, 257, 270, 322, 330
_HAMAMATSU = 65420
_SLIDE_WORDS = ("Aperio", "<scn", "iScan", "PHILIPS", "DP Scanner")
SLIDE_PIXELS = 2**26
"""A tiled TIFF of this many pixels is taken for a slide even without a pyramid."""
_LONGEST_CHUNK_LIST = 64


def may_hold_more(head: bytes) -> bool:
    """True when the first bytes of a raster are of a format that can hold several images."""
    return head.startswith((*_TIFF_MARKS, b"GIF8", _PNG_MARK)) or head[8:16] == b"WEBPVP8X"


def refine(head: bytes, stream: BinaryIO) -> Family:
    """The kind of a raster file by its directory: "raster", "animation", "stack" or "slide"; decodes no pixel.

    A directory that cannot be read leaves "raster", whose reader then says what is wrong.
    """
    try:
        if head.startswith(_TIFF_MARKS):
            return _tiff_kind(stream)
        return "animation" if _is_animated(head, stream) else "raster"
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        KeyError,
        TypeError,
        Image.DecompressionBombError,
    ):
        return "raster"


def _is_animated(head: bytes, stream: BinaryIO) -> bool:
    if head.startswith(b"GIF8"):
        with Image.open(stream, formats=("GIF",)) as image:
            return bool(getattr(image, "is_animated", False))
    if head.startswith(b"RIFF"):
        return head[12:16] == b"VP8X" and bool(head[20] & _WEBP_IS_ANIMATED)
    return head.startswith(_PNG_MARK) and _has_animation_chunk(stream)


def _has_animation_chunk(stream: BinaryIO) -> bool:
    """True for an APNG: its acTL chunk stands before the first pixels."""
    at = len(_PNG_MARK)
    for _ in range(_LONGEST_CHUNK_LIST):
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if name in (b"acTL", b"IDAT"):
            return name == b"acTL"
        at += 12 + length
    return False


def _tiff_kind(stream: BinaryIO) -> Family:
    """A tiled TIFF that is a pyramid, huge or marked by a scanner is a slide; another one of several pages a stack."""
    stream.seek(0)
    header = stream.read(8)
    header += stream.read(8) if header[2:3] == b"+" or header[3:4] == b"+" else b""
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(tags.next)
    tags.load(stream)
    if _HAMAMATSU in tags or (_TILE_WIDTH in tags and _is_pyramid(tags, header, stream)):
        return "slide"
    return "stack" if _next(tags) else "raster"


def _is_pyramid(tags: TiffImagePlugin.ImageFileDirectory_v2, header: bytes, stream: BinaryIO) -> bool:
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    words = str(tags.get(_DESCRIPTION, ""))
    if _SUB_IFDS in tags or width * height >= SLIDE_PIXELS or any(word in words for word in _SLIDE_WORDS):
        return True
    if not _next(tags):
        return False
    second = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(_next(tags))
    second.load(stream)
    return _TILE_WIDTH in second and int(second[_WIDTH]) < width and int(second[_HEIGHT]) < height


def _next(tags: TiffImagePlugin.ImageFileDirectory_v2) -> int:
    """Where the next directory starts; 0 after the last."""
    return int(tags.next or 0)


def count_pages(stream: BinaryIO, most: int) -> int:
    """The directories of a TIFF, by walking their chain; raises RejectedInput for a ring, or more than `most`."""
    stream.seek(0)
    header = stream.read(16)
    order, is_big = "<" if header[:2] == b"II" else ">", b"+" in header[2:4]
    count_kind, entry_bytes, next_kind = ("Q", 20, "Q") if is_big else ("H", 12, "L")
    (at,) = struct.unpack_from(order + next_kind, header, 8 if is_big else 4)
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= most:
            raise RejectedInput("limits", f"the directories of the TIFF form a ring, or are more than {most}")
        seen.add(at)
        stream.seek(at)
        (entries,) = struct.unpack(order + count_kind, _exactly(stream, struct.calcsize(order + count_kind)))
        stream.seek(entries * entry_bytes, os.SEEK_CUR)
        (at,) = struct.unpack(order + next_kind, _exactly(stream, struct.calcsize(order + next_kind)))
    return len(seen)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("the TIFF ends inside a directory")
    return content
