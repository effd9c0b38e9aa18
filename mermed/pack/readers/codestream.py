"""Codestream: the size that a JPEG, JPEG-LS or JPEG 2000 stream claims, and whether it ends, before it is decoded."""

import struct
from typing import BinaryIO

_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xDA), 0xFF})
_LONGEST_HEADER = 2**20
_END, _LONGEST_PADDING = b"\xff\xd9", 64


def stream_size(stream: BinaryIO, start: int, num_bytes: int) -> tuple[int, int] | None:
    """(height, width) that the codestream at `start` claims; None where there is none, or nothing in its first MiB."""
    stream.seek(start)
    head = stream.read(min(num_bytes, 64))
    if head.startswith(_JPEG):
        return _jpeg_size(stream, start + 2, start + min(num_bytes, _LONGEST_HEADER))
    if head.startswith(_JPEG_2000):
        return _jpeg_2000_size(head)
    if head.startswith(_JP2):
        stream.seek(start)
        boxes = stream.read(min(num_bytes, 4096))
        at = boxes.find(_JPEG_2000)
        return _jpeg_2000_size(boxes[at : at + 64]) if at >= 0 else None
    return None


def has_end(stream: BinaryIO, start: int, num_bytes: int) -> bool:
    """True when a codestream of any of these kinds ends with its end mark, but for padding."""
    tail = min(num_bytes, _LONGEST_PADDING)
    stream.seek(start + num_bytes - tail)
    return _END in stream.read(tail)


def _jpeg_size(stream: BinaryIO, at: int, end: int) -> tuple[int, int] | None:
    """The size in the frame header (SOF), found by stepping over the segments before it."""
    while at + 9 <= end:
        stream.seek(at)
        mark, code, length, _, height, width = struct.unpack(">BBHBHH", stream.read(9))
        if mark != 0xFF:
            return None
        if code in _FRAME_MARKERS:
            return height, width
        at += 1 if code == 0xFF else 2 if code in _BARE_MARKERS else 2 + length
    return None


def _jpeg_2000_size(head: bytes) -> tuple[int, int] | None:
    """The size of the image area in the SIZ segment, ITU-T T.800 A.5.1."""
    if len(head) < 24:
        return None
    right, bottom, left, top = struct.unpack_from(">LLLL", head, 8)
    return bottom - top, right - left
