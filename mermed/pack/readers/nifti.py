"""NIfTI: slices of .nii, .nii.gz and .hdr + .img volumes, cut axially whatever way the voxels are stored."""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.choosing import choose_slices, left_out
from mermed.pack.readers.nifti_header import VolumeHeader, read_header
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedFrame, RejectedInput, Scale
from mermed.pack.treatment import Treatment

AIR_HU = -200.0
"""A volume whose lowest value lies at or below this is in Hounsfield units; nothing else of a NIfTI file tells."""
BODY_HU = -500.0
"""In Hounsfield units, what lies above this is content."""
FOREGROUND = 0.1
"""In other units, what lies this share above the lowest value, towards the 99.5 percentile, is content."""
_GZIP = b"\x1f\x8b"
_MOST_DEFLATED = 1032
_GULP = 2**20
_MOST_WHOLE = 2**31


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The slices of one volume; see `readers.reading`. Of several volumes (time, channels) the first is cut.

    Only the chosen slices are held in memory; a gzip file is unfolded once, to its end, so that its checksum counts.
    """
    head_file, data_file = _pair(file)
    with _reasons(), _open(head_file, bounds) as stream:
        header = read_header(stream, bounds)
        chosen = choose_slices(header.slices, treatment.sampling)
        if len(chosen) * header.plane_bytes * header.shape[2] // header.slices > bounds.max_bytes:
            raise RejectedInput("file_limit", f"{len(chosen)} slices take more than {bounds.max_bytes} bytes")
        if header.is_pair:
            with _open(data_file, bounds) as data:
                planes = _cut(data, header, chosen, _claim(data_file, data, header, bounds))
        else:
            planes = _cut(stream, header, chosen, _claim(head_file, stream, header, bounds))
        is_misnamed = file.name.lower().endswith(".gz") and not isinstance(stream, gzip.GzipFile)
    notes = ("not_gzip",) if is_misnamed else ()
    return Frames(_items(header, chosen, planes, treatment, notes), header.slices * header.times)


def _pair(file: RawFile) -> tuple[RawFile, RawFile]:
    """The files of the header and of the voxels: one and the same, or a .hdr and its .img."""
    name = file.name.lower()
    stem = next((name[: -len(end)] for end in (".hdr", ".hdr.gz", ".img", ".img.gz") if name.endswith(end)), None)
    if stem is None:
        return file, file
    if file.member:
        raise RejectedInput("needs_file", "a volume in two files cannot be read inside an archive; unpack it")
    beside = {path.name.lower(): path for path in file.path.parent.iterdir()}
    return _beside(beside, stem, ".hdr"), _beside(beside, stem, ".img")


def _beside(beside: dict[str, Path], stem: str, end: str) -> RawFile:
    for name in (stem + end, stem + end + ".gz"):
        if name in beside and stat.S_ISREG(os.lstat(beside[name]).st_mode):
            return RawFile(beside[name])
    raise RejectedInput("missing", f"the {end} file that belongs to this volume is not beside it")


@contextmanager
def _open(file: RawFile, bounds: Bounds) -> Iterator[BinaryIO]:
    """The bytes of a file, unfolded if it is a gzip file: by its first bytes, since names are wrong (nibabel#898)."""
    with open_raw(file, bounds) as stream:
        is_folded = stream.read(2) == _GZIP
        stream.seek(0)
        if not is_folded:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unfolded:
            yield unfolded  # type: ignore[misc]


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what a stream that ends or breaks raises into RejectedInput."""
    try:
        yield
    except EOFError:
        raise RejectedInput("truncated", "the volume ends early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise RejectedInput("corrupt", "the gzip stream is damaged") from None


def _claim(file: RawFile, stream: BinaryIO, header: VolumeHeader, bounds: Bounds) -> bool:
    """Check that the file can hold what its header claims; True when it is a gzip file. Raises RejectedInput."""
    end = header.offset + header.voxel_bytes
    if not isinstance(stream, gzip.GzipFile):
        here = stream.tell()
        size = stream.seek(0, os.SEEK_END)
        stream.seek(here)
        if size < end:
            raise RejectedInput("truncated", f"{size} bytes, and the header claims {end}")
        return False
    if end > bounds.max_bytes:
        raise RejectedInput("file_limit", f"the header claims {end} unfolded bytes, more than {bounds.max_bytes}")
    folded = os.stat(file.path).st_size if not file.member else end
    if end > folded * _MOST_DEFLATED:
        raise RejectedInput("truncated", f"{folded} bytes of gzip cannot hold the {end} the header claims")
    return True


def _cut(stream: BinaryIO, header: VolumeHeader, chosen: list[int], is_folded: bool) -> list[NDArray[Any]]:
    """The chosen slices as stored planes, in one pass over the file."""
    last = header.slices - 1
    places = [last - number if header.view.is_down else number for number in chosen]
    planes = _cut_along(stream, header, places) if header.view.axis == 2 else _cut_across(stream, header, places)
    if is_folded:
        _drain(stream, header)
    return planes


def _cut_along(stream: BinaryIO, header: VolumeHeader, places: list[int]) -> list[NDArray[Any]]:
    """Slices that lie together in the file."""
    planes = {place: _plane(stream, header, place) for place in sorted(places)}
    return [planes[place] for place in places]


def _cut_across(stream: BinaryIO, header: VolumeHeader, places: list[int]) -> list[NDArray[Any]]:
    """Slices of which every plane in the file holds one line."""
    across = 1 - header.view.axis
    slices = np.empty((len(places), header.shape[across], header.shape[2]), header.dtype)
    for number in range(header.shape[2]):
        slices[:, :, number] = (
            _plane(stream, header, number)
            .take(places, header.view.axis)
            .reshape((len(places), -1) if header.view.axis == 0 else (-1, len(places)))
            .swapaxes(0, header.view.axis)
        )
    return list(slices)


def _plane(stream: BinaryIO, header: VolumeHeader, number: int) -> NDArray[Any]:
    stream.seek(header.offset + number * header.plane_bytes)
    content = stream.read(header.plane_bytes)
    if len(content) < header.plane_bytes:
        raise EOFError
    return np.frombuffer(content, header.dtype).reshape(header.shape[:2], order="F")


def _drain(stream: BinaryIO, header: VolumeHeader) -> None:
    """Unfold the rest, which checks the checksum; more than the header claims is refused as it may never end."""
    end = header.offset + header.voxel_bytes
    while stream.read(_GULP):
        if stream.tell() > end + _GULP:
            raise RejectedInput("limits", "the gzip stream goes on behind the volume")
    if stream.tell() < end:
        raise EOFError


def _items(
    header: VolumeHeader,
    chosen: list[int],
    planes: list[NDArray[Any]],
    treatment: Treatment,
    notes: tuple[str, ...],
) -> Iterator[RawImage | RejectedFrame]:
    low, high = _range(planes, header)
    scale = _scale(header, low)
    floor = BODY_HU if scale == "hounsfield" else low + FOREGROUND * (high - low)
    empty: list[int] = []
    for number, plane in zip(chosen, planes, strict=True):
        values, padding = _values(plane, header)
        seen = values > floor if padding is None else (values > floor) & ~padding
        if seen.mean() < treatment.sampling.least_content:
            empty.append(number)
            continue
        yield RawImage(
            pixels=header.view.upright(values),
            scale=scale,
            source_bits=8 if header.dtype.fields else header.dtype.itemsize * 8,
            voi=header.shown,
            padding=None if padding is None else header.view.upright(padding),
            spacing_mm=header.view.spacing_mm,
            frame=number,
            notes=notes,
        )
    if empty:
        detail = f"slices of which less than {treatment.sampling.least_content:.0%} differs from the background"
        yield RejectedFrame(reason="little_content", detail=detail, count=len(empty), frame=empty[0])
    yield from left_out(header.slices * header.times - len(chosen), "not_sampled", "slices the sampling leaves out")


def _range(planes: list[NDArray[Any]], header: VolumeHeader) -> tuple[float, float]:
    """The lowest value of the chosen slices and their 99.5 percentile, on every fourth line and column."""
    finite = [values[np.isfinite(values)] for values in (_values(plane[::4, ::4], header)[0] for plane in planes)]
    joined = np.concatenate(finite) if finite else np.zeros(0)
    return (float(joined.min()), float(np.percentile(joined, 99.5))) if joined.size else (0.0, 0.0)


def _scale(header: VolumeHeader, low: float) -> Scale:
    if header.dtype.fields:
        return "display"
    if low <= AIR_HU:
        return "hounsfield"
    is_plain_byte = header.dtype == np.uint8 and (header.slope, header.inter) == (1.0, 0.0)
    return "display" if is_plain_byte and header.shown is None else "stored"


def _values(plane: NDArray[Any], header: VolumeHeader) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Values of stored voxels, whole numbers where they stay whole; NaN and infinity are marked as padding."""
    if header.dtype.fields:
        return np.stack([plane[channel] for channel in "RGB"], axis=-1), None
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    slope, inter = header.slope, header.inter
    if native.dtype.kind in "iu" and (slope, inter) == (1.0, 0.0):
        return native, None
    is_whole = slope.is_integer() and inter.is_integer() and max(abs(slope), abs(inter)) < _MOST_WHOLE
    if native.dtype.kind in "iu" and is_whole and native.dtype.itemsize <= 2:
        return native.astype(np.int64) * int(slope) + int(inter), None
    values = native.astype(np.float64) * slope + inter
    missing = ~np.isfinite(values)
    return (np.where(missing, 0.0, values), missing) if missing.any() else (values, None)
