"""Array: images of a .npy file, or of one array of an NPZ (such as MedMNIST's), row by row out of the archive."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from mermed.pack.readers.archive import open_stream
from mermed.pack.readers.array_layout import ArrayLayout
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedInput
from mermed.pack.treatment import Treatment

_UNBOUNDED = 2**62
_GULP = 2**18
_HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The images of one array; see `mermed.pack.readers.reading`.

    Every row is an image of its own, so all are taken, whatever the sampling. One row is held at a time, except for
    columns-first arrays of several images, which are read whole within the bounds. Objects are never unpickled.
    """
    # Rows are read one by one, so the size of the whole array says nothing of the memory it takes.
    unbounded = replace(bounds, max_bytes=_UNBOUNDED)
    with open_stream(file, unbounded) as stream:
        layout, is_fortran = _read_header(stream, bounds, treatment.bits)
        _check_to_end(stream, layout.total * layout.frame_bytes)
    if is_fortran and layout.total * layout.frame_bytes > bounds.max_bytes:
        raise RejectedInput("file_limit", f"a columns-first array of more than {bounds.max_bytes} bytes")
    take = _whole if is_fortran else _rows
    return Frames(_images(take(file, unbounded, bounds, treatment.bits), layout), layout.total)


def _images(rows: Generator[NDArray[Any], None, None], layout: ArrayLayout) -> Iterator[RawImage]:
    # Closed here and now when a row is no image: what an error holds on to would keep the file open for longer.
    with closing(rows):
        for index, row in enumerate(rows):
            yield layout.image(row, index)


def _read_header(stream: BinaryIO, bounds: Bounds, bits: int | None) -> tuple[ArrayLayout, bool]:
    try:
        version = npy_format.read_magic(stream)
        if version not in _HEADERS:
            raise RejectedInput("no_decoder", "an array file of an unknown version")
        shape, is_fortran, dtype = _HEADERS[version](stream)
    except (ValueError, EOFError):
        raise RejectedInput("corrupt", "the header of the array cannot be read") from None
    return ArrayLayout.of(shape, dtype, bounds, bits), is_fortran and len(shape) > 1


def _check_to_end(stream: BinaryIO, num_bytes: int) -> None:
    """Read what is left once, so that a cut array or a wrong checksum is known before the first image is taken."""
    found = 0
    try:
        while gulp := stream.read(_GULP):
            found += len(gulp)
    except EOFError:
        raise RejectedInput("truncated", "the archive ends inside the array") from None
    if found < num_bytes:
        raise RejectedInput("truncated", f"{found} bytes of values, and the header claims {num_bytes}")


def _rows(file: RawFile, unbounded: Bounds, bounds: Bounds, bits: int | None) -> Generator[NDArray[Any], None, None]:
    with open_stream(file, unbounded) as stream:
        layout, _ = _read_header(stream, bounds, bits)
        for _ in range(layout.total):
            yield np.frombuffer(_exactly(stream, layout.frame_bytes), layout.dtype).reshape(layout.frame_shape)


def _whole(file: RawFile, unbounded: Bounds, bounds: Bounds, bits: int | None) -> Generator[NDArray[Any], None, None]:
    with open_stream(file, unbounded) as stream:
        layout, _ = _read_header(stream, bounds, bits)
        shape = layout.frame_shape if layout.count is None else (layout.count, *layout.frame_shape)
        values = np.frombuffer(_exactly(stream, layout.total * layout.frame_bytes), layout.dtype)
        array = values.reshape(shape, order="F")
        yield from (array,) if layout.count is None else array


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        gulp = stream.read(count - len(content))
        if not gulp:
            raise RejectedInput("truncated", "the array ends early")
        content += gulp
    return bytes(content)
