"""DICOM: one single-frame DICOM file to a RawImage, through pydicom. Needs the extra 'dicom'."""

import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.errors import missing_extra
from mermed.pack.raw import Bounds, Frames, RawFile, RawImage, RejectedInput, Scale, check_size
from mermed.pack.treatment import Treatment
from mermed.pack.window import Curve, LookupTable, Window

try:
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import dcmread, read_file_meta_info
    from pydicom.multival import MultiValue
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
except ImportError:
    raise missing_extra("dicom", "reading DICOM files") from None

_GREY = ("MONOCHROME1", "MONOCHROME2")
_MORE_DECODERS = "python-gdcm or pylibjpeg-libjpeg may"
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one DICOM file; see `mermed.pack.reading`."""
    return Frames.single(read_dicom(file.path, bounds))


def read_dicom(path: Path, bounds: Bounds) -> RawImage:
    """Read one single-frame DICOM file; raises RejectedInput.

    Grey comes back after the modality transform (HU for CT), with the header's VOI beside it and not applied; colour
    comes back as 8-bit RGB. Nothing else of the header leaves this function.
    """
    dataset = _load(path, bounds)
    _check_header(dataset, bounds)
    stored = _decode(dataset)
    spacing_mm = _spacing_mm(dataset)
    bits = int(dataset.get("BitsStored") or stored.dtype.itemsize * 8)
    if dataset.PhotometricInterpretation not in _GREY:
        return RawImage(pixels=_to_rgb(stored, dataset, bits), scale="display", source_bits=bits, spacing_mm=spacing_mm)
    values, scale = _to_values(stored, dataset, bits)
    return RawImage(
        pixels=values,
        scale=scale,
        source_bits=bits,
        voi=_voi(dataset),
        is_inverted=dataset.PhotometricInterpretation == "MONOCHROME1",
        padding=_padding(stored, dataset),
        spacing_mm=spacing_mm,
    )


def _load(path: Path, bounds: Bounds) -> Any:
    with path.open("rb") as file:
        has_preamble = file.read(132)[128:] == b"DICM"
    if has_preamble and read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _check_deflated(path, bounds)
    try:
        dataset = dcmread(path, force=not has_preamble)
    except EOFError:
        raise RejectedInput("truncated", "the DICOM header ends early") from None
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = FileMetaDataset()
        is_implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    return dataset


def _check_deflated(path: Path, bounds: Bounds) -> None:
    """Refuse a deflated file that would unfold beyond the bound: pydicom inflates it whole, whatever it holds."""
    content = path.read_bytes()
    length = read_file_meta_info(path).FileMetaInformationGroupLength
    start = 132 + 12 + int(length)  # preamble and mark, the group length element, the rest of the group
    unfolded = zlib.decompressobj(-zlib.MAX_WBITS)
    size, pending = 0, content[start:]
    while pending and not unfolded.eof:
        size += len(unfolded.decompress(pending, 2**24))
        pending = unfolded.unconsumed_tail
        if size > bounds.max_bytes:
            raise RejectedInput("file_limit", f"inflates to more than {bounds.max_bytes} bytes")


def _check_header(dataset: Any, bounds: Bounds) -> None:
    """Refuse by the header alone what is no single image."""
    if dataset.get("Modality") in ("SEG", "RTSTRUCT") or dataset.get("BitsAllocated") == 1:
        raise RejectedInput("segmentation", "a mask, not an image", bin="excluded")
    names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    if not any(name in dataset for name in names) or not dataset.get("PhotometricInterpretation"):
        raise RejectedInput("no_pixels", "the object holds no pixel data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise RejectedInput("multi_frame", "objects of several frames wait for their reader", bin="excluded")
    check_size(int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0), bounds)
    if dataset.get("BurnedInAnnotation") == "YES":
        raise RejectedInput("burned_in", "the header says that text is burned into the pixels")


def _decode(dataset: Any) -> NDArray[Any]:
    try:
        pixels = pixel_array(dataset)
    except (RuntimeError, NotImplementedError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if re.search(r"not support|missing dep", str(error)):
            raise RejectedInput("no_decoder", f"no installed decoder reads {syntax.name}; {_MORE_DECODERS}") from None
        raise RejectedInput("corrupt", f"no decoder of {syntax.name} could read the pixels") from None
    except ValueError as error:
        reason = "truncated" if "less than expected" in str(error) else "corrupt"
        raise RejectedInput(reason, "the pixel data does not fit its header") from None
    # Some decoders hand out big-endian or read-only arrays; everything after this works on native ones.
    return np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def _to_rgb(stored: NDArray[Any], dataset: Any, bits: int) -> NDArray[np.uint8]:
    """8-bit RGB of a colour object; pydicom has turned YBR into RGB already."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        # Tables announce 16 bits and hold 8 often enough that only the values tell.
        return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    if stored.ndim != 3 or stored.shape[2] != 3:
        raise RejectedInput("no_decoder", "colour pixels of another number of channels than 3")
    return (stored >> (bits - 8) if bits > 8 else stored).astype(np.uint8)


def _to_values(stored: NDArray[Any], dataset: Any, bits: int) -> tuple[NDArray[Any], Scale]:
    """Grey after the modality transform, and what its numbers mean."""
    if "ModalityLUTSequence" in dataset:
        return apply_modality_lut(stored, dataset), "stored"
    slope, intercept = (_float(dataset.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None:
        if stored.dtype.kind == "u" and bits <= 8:
            return (stored.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8), "display"
        return stored, "stored"
    is_hounsfield = dataset.get("Modality") == "CT" and (dataset.get("RescaleType") or "HU") == "HU"
    if (slope, intercept) == (1.0, 0.0):
        values = stored
    elif slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu":
        is_small = stored.dtype.itemsize <= 2 and max(abs(slope), abs(intercept)) < 2**14
        values = stored.astype(np.int32 if is_small else np.int64) * int(slope) + int(intercept)
    else:
        values = stored * slope + intercept
        if not np.isfinite(values).all():
            raise RejectedInput("corrupt", "the rescale of the header leads to no finite values")
    if values is stored and stored.dtype == np.uint8 and bits == 8 and not is_hounsfield:
        return values, "display"
    return values, "hounsfield" if is_hounsfield else "stored"


def _voi(dataset: Any) -> Curve | None:
    """The first VOI table or window of the header; None when there is none, or one that means nothing."""
    if dataset.get("VOILUTSequence"):
        return _table(dataset.VOILUTSequence[0])
    centre, width = _float(dataset.get("WindowCenter")), _float(dataset.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    return Window(centre, width, function) if function in _FUNCTIONS else None  # type: ignore[arg-type]


def _table(item: Any) -> LookupTable:
    """The lookup table of one sequence item, whose data may be numbers or raw bytes."""
    count, first, bits = (int(entry) for entry in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        entries = np.frombuffer(data, np.uint8 if len(data) == (count or 2**16) else "<u2")
    else:
        entries = np.atleast_1d(np.asarray(data, np.int64))
    if not entries.size or not 1 <= bits <= 16:
        raise RejectedInput("corrupt", "the VOI table of the header is empty or of an unknown depth")
    return LookupTable(first, entries.astype(np.float64), bits)


def _padding(stored: NDArray[Any], dataset: Any) -> NDArray[np.bool_] | None:
    """Where the stored values are padding: the value alone, or the range up to its limit."""
    value = _float(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = _float(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted((value, value if limit is None else limit))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _spacing_mm(dataset: Any) -> tuple[float, float] | None:
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if spacing is None or len(spacing) != 2:
        return None
    row, column = float(spacing[0]), float(spacing[1])
    return (row, column) if 0 < row < math.inf and 0 < column < math.inf else None


def _float(value: Any) -> float | None:
    """The first of a header's numbers, or None when there is none or it is not finite."""
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else math.nan
    number = float(value)
    return number if math.isfinite(number) else None
