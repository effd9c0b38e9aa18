"""OCT: the B-scans of a Heidelberg Spectralis .vol file, without any library."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.choosing import left_out, spread
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedFrame, RejectedInput, check_size
from mermed.pack.treatment import Treatment

_HEADER_BYTES = 2048
_SCAN_MARK = b"HSF-BS"
_LEAST_SCAN_HEADER = 256
_TOP = 1.0
"""Reflectivity lies between 0 and this; larger values stand for pixels that were not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """Sizes in pixels, spacing in mm; `start` is where the first B-scan's header lies, `stride` the bytes of one B-scan
    with its header of `scan_header` bytes."""

    width: int
    height: int
    scans: int
    spacing_mm: tuple[float, float] | None
    start: int
    scan_header: int

    @property
    def stride(self) -> int:
        return self.scan_header + 4 * self.width * self.height


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The B-scans of one volume, evenly spaced when there are too many; see `mermed.pack.readers.reading`.

    The picture of the fundus that comes with them is no B-scan and is not read, nor are the drawn layers.
    """
    with open_raw(file, bounds) as stream:
        header = _header(stream, bounds)
    return Frames(_items(file, header, bounds, treatment), header.scans)


def _header(stream: BinaryIO, bounds: Bounds) -> _Header:
    """The sizes at the start of a file; raises RejectedInput when they do not fit its length."""
    block = stream.read(_HEADER_BYTES)
    size = stream.seek(0, os.SEEK_END)
    if len(block) < _HEADER_BYTES:
        raise RejectedInput("truncated", "the header ends early")
    width, scans, height = struct.unpack_from("<3i", block, 12)
    scale_x, _, scale_z = struct.unpack_from("<3d", block, 24)
    fundus_width, fundus_height = struct.unpack_from("<2i", block, 48)
    (scan_header,) = struct.unpack_from("<i", block, 100)
    check_size(width, height, bounds)
    if not 1 <= scans <= bounds.max_frames:
        raise RejectedInput("limits", f"the header claims {scans} B-scans")
    if min(fundus_width, fundus_height) < 0 or scan_header < _LEAST_SCAN_HEADER:
        raise RejectedInput("corrupt", "the header claims parts of no size")
    start = _HEADER_BYTES + fundus_width * fundus_height
    is_known = np.isfinite([scale_x, scale_z]).all() and min(scale_x, scale_z) > 0
    header = _Header(
        width=width,
        height=height,
        scans=scans,
        spacing_mm=(scale_z, scale_x) if is_known else None,
        start=start,
        scan_header=scan_header,
    )
    if start + header.stride > size:
        raise RejectedInput("truncated", f"{size} bytes, and the first B-scan ends at {start + header.stride}")
    return header


def _items(file: RawFile, header: _Header, bounds: Bounds, treatment: Treatment) -> Iterator[RawImage | RejectedFrame]:
    chosen = spread(header.scans, treatment.sampling.max_frames)
    with open_raw(file, bounds) as stream:
        for number in chosen:
            yield _scan(stream, header, number)
    yield from left_out(header.scans - len(chosen), "not_sampled", "B-scans the sampling leaves out")


def _scan(stream: BinaryIO, header: _Header, number: int) -> RawImage:
    """One B-scan as it is shown on a screen: the fourth root of its reflectivity, black where nothing was measured."""
    stream.seek(header.start + number * header.stride)
    content = stream.read(header.stride)
    if len(content) < header.stride:
        raise RejectedInput("truncated", "the file ends before its last B-scan")
    if not content.startswith(_SCAN_MARK):
        raise RejectedInput("corrupt", "no B-scan stands where the header puts it")
    values = np.frombuffer(content, "<f4", offset=header.scan_header).reshape(header.height, header.width)
    missing = ~((values >= 0.0) & (values <= _TOP))
    root = np.sqrt(np.sqrt(np.where(missing, np.float32(0.0), values).astype(np.float64)))
    return RawImage(
        pixels=np.rint(255.0 * root).astype(np.uint8),
        scale="display",
        source_bits=32,
        padding=missing if missing.any() else None,
        spacing_mm=header.spacing_mm,
        frame=number,
    )
