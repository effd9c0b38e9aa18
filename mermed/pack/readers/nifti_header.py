"""NIfTI header: shape, type, scaling and axes of one volume, checked before a voxel is touched. Needs 'nifti'."""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mermed.errors import missing_extra
from mermed.pack.pixels.window import Window
from mermed.pack.readers.raw import Bounds, RejectedInput, check_size

try:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
    from nibabel.spatialimages import HeaderDataError
except ImportError:
    raise missing_extra("nifti", "reading NIfTI volumes") from None

_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Codes of no unit, metre, millimetre and micrometre."""
_PAIR_MARKS = (b"ni1", b"ni2")
_LEFT, _BACK, _UP = 0, 1, 2
_SECOND_HEADER_BYTES = 540


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """How slices are cut out of the stored axes and turned upright.

    `axis` is the stored axis that slices are counted along, `is_down` whether the count runs against it, `is_turned`
    whether a cut plane (stored axes in order) must be transposed, `flips` what then happens to (rows, columns).
    """

    axis: int
    is_down: bool
    is_turned: bool
    flips: tuple[bool, bool]
    spacing_mm: tuple[float, float] | None

    def upright(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The plane as it is shown: (rows, columns), and the channels of colour behind them."""
        turned = plane.swapaxes(0, 1) if self.is_turned else plane
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return np.ascontiguousarray(turned[rows, columns])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumeHeader:
    """What is needed of a NIfTI header, and nothing else of it.

    `shape` is that of one volume as stored (the first axis runs fastest), `times` the number of volumes. `offset` is
    where the voxels start. `slope` and `inter` make values of voxels; `shown` is the range the header asks to show.
    """

    shape: tuple[int, int, int]
    times: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    shown: Window | None
    view: View
    is_pair: bool

    @property
    def slices(self) -> int:
        """Slices of one volume."""
        return self.shape[self.view.axis]

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane of the two fastest axes, which lie together in the file."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all volumes."""
        return self.plane_bytes * self.shape[2] * self.times


def read_header(stream: BinaryIO, bounds: Bounds) -> VolumeHeader:
    """Read and check the header at the start of `stream`; raises RejectedInput. Extensions, which may name people, are
    not read."""
    block = stream.read(_SECOND_HEADER_BYTES)
    kind = Nifti2Header if block[4:7] in (b"n+2", b"ni2") else Nifti1Header
    size = kind.template_dtype.itemsize
    if len(block) < size:
        raise RejectedInput("truncated", "the NIfTI header ends early")
    header: Any = kind(block[:size], check=False)
    shape, times = _shape(header)
    is_pair = bytes(header["magic"])[:3] in _PAIR_MARKS
    slope, inter = _scaling(header)
    view = _view(header, shape)
    height, width = (shape[axis] for axis in range(3) if axis != view.axis)
    check_size(width, height, bounds)
    if shape[view.axis] * times > bounds.max_frames:
        raise RejectedInput("limits", f"the header claims {shape[view.axis]} x {times} slices")
    return VolumeHeader(
        shape=shape,
        times=times,
        dtype=_dtype(header),
        offset=_offset(header, size, is_pair),
        slope=slope,
        inter=inter,
        shown=_shown(header),
        view=view,
        is_pair=is_pair,
    )


def _shape(header: Any) -> tuple[tuple[int, int, int], int]:
    """The shape of one volume, and how many there are; axes that are not there have one voxel."""
    sizes = [int(size) for size in header["dim"]]
    if not 1 <= sizes[0] <= 7 or min(sizes[1 : sizes[0] + 1]) < 1:
        raise RejectedInput("corrupt", f"the header claims {sizes[0]} axes with {min(sizes[1:])} voxels or more")
    full = [*sizes[1 : sizes[0] + 1], 1, 1]
    times = 1
    for size in full[3:]:
        times *= size
    return (full[0], full[1], full[2]), times


def _dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise RejectedInput("corrupt", "the header names an unknown type of voxels") from None
    if dtype.kind == "c" or dtype.itemsize == 0:
        raise RejectedInput("no_decoder", "complex or single-bit voxels are no image")
    return dtype


def _offset(header: Any, size: int, is_pair: bool) -> int:
    offset = float(header["vox_offset"])
    least = 0 if is_pair else size + 4
    if not np.isfinite(offset) or offset < 0 or 0 < offset < least:
        raise RejectedInput("corrupt", "the header puts the voxels into itself")
    return max(int(offset), least)


def _scaling(header: Any) -> tuple[float, float]:
    """(slope, intercept); a slope of 0 means that there is none."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or (slope != 0 and not np.isfinite(inter)):
        raise RejectedInput("corrupt", "the header scales voxels by what is no number")
    return (slope, inter) if slope != 0 else (1.0, 0.0)


def _shown(header: Any) -> Window | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return Window((low + high) / 2.0, high - low) if np.isfinite([low, high]).all() and high > low else None


def _view(header: Any, shape: tuple[int, int, int]) -> View:
    """Axial slices from below upwards, front at the top and the patient's left at the right of the picture.

    A volume of one slice is that slice, whichever way it was cut; coronal and sagittal ones have the head at the top.
    """
    affine = np.asarray(header.get_best_affine(), float)
    places = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(places).all():
        raise RejectedInput("corrupt", "the header does not say how the volume lies")
    moves = ornt_transform(places, axcodes2ornt(("L", "P", "S"))).astype(int)
    stored = {int(target): axis for axis, (target, _) in enumerate(moves)}
    is_flipped = {int(target): bool(flip < 0) for target, flip in moves}
    thin = [axis for axis in range(3) if shape[axis] == 1]
    across = int(moves[thin[0]][0]) if len(thin) == 1 else _UP
    row, column = {_UP: (_BACK, _LEFT), _BACK: (_UP, _LEFT), _LEFT: (_UP, _BACK)}[across]
    return View(
        axis=stored[across],
        is_down=is_flipped[across],
        is_turned=stored[row] > stored[column],
        flips=(is_flipped[row] != (row == _UP), is_flipped[column]),
        spacing_mm=_spacing(header, affine, stored[row], stored[column]),
    )


def _spacing(header: Any, affine: NDArray[np.float64], row: int, column: int) -> tuple[float, float] | None:
    """(row, column) spacing in mm, from the lengths of the affine's columns; a file without a unit means mm."""
    unit = _MM_OF_UNIT.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        return None
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)) * unit
    return float(lengths[row]), float(lengths[column])
