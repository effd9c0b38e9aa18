"""DICOM header: what a header says about the pixels of one frame, and what it must say before any is decoded."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from mermed.pack.pixels.window import Curve, LookupTable, Window
from mermed.pack.readers.raw import Bounds, RejectedInput, check_size
from mermed.pack.treatment import Treatment

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_NO_IMAGES = ("SEG", "RTSTRUCT", "RTDOSE")
_SLIDE_EXTRAS = ("LABEL", "OVERVIEW")
_FLAT, _TISSUE = 1, 1
_CENTIMETRES = 3
LEAST_REGION_PX = 32
"""Regions of an ultrasound screen narrower than this are rulers and colour bars."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header as it stands for one frame: its own functional groups, else the shared ones, else the object's."""

    dataset: Dataset
    own: Dataset | None = None
    shared: Dataset | None = None

    def group(self, keyword: str) -> Dataset:
        """The item of a functional group; the object itself where there is no such group."""
        for groups in (self.own, self.shared):
            if groups is not None and (items := groups.get(keyword)):
                return items[0]
        return self.dataset


def frame_headers(dataset: Dataset) -> Callable[[int], FrameHeader]:
    """Give the header of a frame by its number, from 0."""
    shared = dataset.get("SharedFunctionalGroupsSequence")
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared_item = shared[0] if shared else None

    def header(index: int) -> FrameHeader:
        return FrameHeader(dataset, own[index] if index < len(own) else None, shared_item)

    return header


def check_header(dataset: Dataset, bounds: Bounds, treatment: Treatment) -> int:
    """Refuse by the header alone what is no image, or larger than the bounds; returns the number of frames.

    Raises RejectedInput.
    """
    if dataset.get("Modality") in _NO_IMAGES or dataset.get("BitsAllocated") == 1:
        raise RejectedInput("segmentation", "a mask, a contour or a dose, not an image", bin="excluded")
    if treatment.dicom_modalities and dataset.get("Modality") not in treatment.dicom_modalities:
        raise RejectedInput("other_modality", "the header names a modality that the recipe leaves out", bin="excluded")
    if not dataset.get("PhotometricInterpretation"):
        raise RejectedInput("no_pixels", "the object holds no pixel data")
    kind = dataset.get("ImageType") or ()
    if dataset.get("Modality") == "SM" and any(word in kind for word in _SLIDE_EXTRAS):
        raise RejectedInput("slide_label", "the label or the overview of a slide, not its tissue", bin="excluded")
    frames = whole(dataset, "NumberOfFrames", 1) or 1
    if not 1 <= frames <= bounds.max_frames:
        raise RejectedInput("limits", f"the header claims {frames} frames, and 1 to {bounds.max_frames} are read")
    check_size(whole(dataset, "Columns", 0), whole(dataset, "Rows", 0), bounds)
    allocated = whole(dataset, "BitsAllocated", 0)
    stored = whole(dataset, "BitsStored", allocated)
    if allocated not in (8, 16, 32, 64) or not 1 <= stored <= allocated:
        raise RejectedInput("corrupt", f"the header claims {stored} bits of {allocated} per value")
    if dataset.get("BurnedInAnnotation") == "YES" and not treatment.allow_burned_in:
        raise RejectedInput("burned_in", "the header says that text is burned into the pixels")
    return frames


def whole(dataset: Dataset, keyword: str, default: int) -> int:
    """A whole number of the header; `default` where it says nothing. Raises RejectedInput where it is no number."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise RejectedInput("corrupt", f"{keyword} is no whole number") from None


def number(value: Any) -> float | None:
    """The first of a header's numbers, or None when there is none or it is not finite."""
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else math.nan
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def voi_of(header: FrameHeader) -> Curve | None:
    """The first VOI table or window for a frame; None when there is none, or one that means nothing."""
    if header.dataset.get("VOILUTSequence"):
        return _table(header.dataset.VOILUTSequence[0], header.dataset)
    item = header.group("FrameVOILUTSequence")
    centre, width = number(item.get("WindowCenter")), number(item.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = str(item.get("VOILUTFunction") or "LINEAR")
    return Window(centre, width, function) if function in _FUNCTIONS else None  # type: ignore[arg-type]


def _table(item: Dataset, dataset: Dataset) -> LookupTable:
    """The lookup table of one sequence item, whose data may be numbers or raw bytes."""
    count, first, bits = (int(entry) for entry in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] in (True, None) else ">"
        entries = np.frombuffer(data, np.uint8 if len(data) == (count or 2**16) else f"{order}u2")
    else:
        entries = np.atleast_1d(np.asarray(data, np.int64))
    if not entries.size or not 1 <= bits <= 16:
        raise RejectedInput("corrupt", "the VOI table of the header is empty or of an unknown depth")
    return LookupTable(first, entries.astype(np.float64), bits)


def padding_of(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Where the stored values are padding: the value alone, or the range up to its limit."""
    value = number(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = number(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted(_signed(end, stored.dtype) for end in (value, value if limit is None else limit))
    mask = stored == low if low == high else (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _signed(value: float, dtype: np.dtype[Any]) -> float:
    """A padding value as the pixels have it: headers often write the negative one as if it had no sign."""
    wraps = dtype.kind == "i" and 2 ** (8 * dtype.itemsize - 1) <= value < 2 ** (8 * dtype.itemsize)
    return value - 2 ** (8 * dtype.itemsize) if wraps else value


def spacing_of(header: FrameHeader) -> tuple[float, float] | None:
    """Millimetres between rows and between columns; None where the header does not say or says no lengths."""
    spacing = header.group("PixelMeasuresSequence").get("PixelSpacing") or header.dataset.get("ImagerPixelSpacing")
    if spacing is None or isinstance(spacing, str) or len(spacing) != 2:
        return None
    row, column = number(spacing[0]), number(spacing[1])
    return (row, column) if row is not None and column is not None and row > 0 and column > 0 else None


def position_of(header: FrameHeader) -> float | None:
    """Where the frame lies along the normal of its plane, in mm; None where the header does not say."""
    place = header.group("PlanePositionSequence").get("ImagePositionPatient")
    axes = header.group("PlaneOrientationSequence").get("ImageOrientationPatient")
    if not place or not axes or len(place) != 3 or len(axes) != 6:
        return None
    normal = np.cross(np.asarray(axes[:3], float), np.asarray(axes[3:], float))
    along = float(normal @ np.asarray(place, float))
    return along if math.isfinite(along) else None


def region_of(dataset: Dataset) -> tuple[tuple[int, int, int, int], tuple[float, float] | None] | None:
    """The scan of an ultrasound screen, (top, left, height, width), with its spacing in mm where that is a length.

    The largest flat region of tissue (B-mode), else the largest flat one. None when the header names none, or any that
    lies outside the image: the image was reduced then, and its regions were not.
    """
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        if item.get("RegionSpatialFormat") != _FLAT:
            continue
        left, top = whole(item, "RegionLocationMinX0", 0), whole(item, "RegionLocationMinY0", 0)
        right, bottom = (whole(item, f"RegionLocationMax{end}1", -1) + 1 for end in "XY")
        if right > int(dataset.Columns) + 1 or bottom > int(dataset.Rows) + 1:
            return None
        height, width = min(bottom, int(dataset.Rows)) - top, min(right, int(dataset.Columns)) - left
        if min(height, width) >= LEAST_REGION_PX:
            is_tissue = item.get("RegionDataType") == _TISSUE
            found.append((is_tissue, height * width, (top, left, height, width), _region_spacing(item)))
    if not found:
        return None
    *_, region, spacing = max(found, key=lambda entry: entry[:2])
    return region, spacing


def _region_spacing(item: Dataset) -> tuple[float, float] | None:
    units = item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")
    row, column = number(item.get("PhysicalDeltaY")), number(item.get("PhysicalDeltaX"))
    if units != (_CENTIMETRES, _CENTIMETRES) or not row or not column:
        return None
    return abs(row) * 10.0, abs(column) * 10.0
