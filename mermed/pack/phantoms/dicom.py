"""Phantom DICOM: drawn chest X-rays and CT slices saved as the DICOM files a scanner would send. Needs 'dicom'."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.errors import missing_extra
from mermed.keyed import key
from mermed.pack.phantoms.strokes import Array

_CT_CLASS, _DX_CLASS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
PADDING_HU = -2000
SPACING_MM = 2.5


def save_cxr(image: Array, path: Path, patient: int) -> None:
    """Save an image in [0, 1]: by patient as 12-bit with a window, 12-bit MONOCHROME1, or 8-bit without either."""
    kind = patient % 3
    if kind == 2:
        dataset = _dataset(path, patient, "DX", np.rint(image * 255).astype(np.uint8), bits=8)
    else:
        stored = np.rint(image * 3200 + 300).astype(np.uint16)
        dataset = _dataset(path, patient, "DX", 4095 - stored if kind else stored, bits=12)
        dataset.WindowCenter, dataset.WindowWidth = (4095 - 1900 if kind else 1900), 3200
        dataset.PhotometricInterpretation = "MONOCHROME1" if kind else "MONOCHROME2"
    _save(dataset, path)


def save_ct(hounsfield: Array, path: Path, patient: int) -> None:
    """Save a slice in HU as int16 with a rescale; some scanners fill the corners with a padding value."""
    values = np.clip(np.rint(hounsfield), -1024, 3071)
    if patient % 2:
        side = np.linspace(-1, 1, len(values))
        values = np.where(np.hypot(side[:, None], side[None, :]) > 1.0, PADDING_HU, values)
    dataset = _dataset(path, patient, "CT", (values + 1024).astype(np.int16), bits=16)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    dataset.WindowCenter, dataset.WindowWidth = [40, -600], [400, 1500]
    if patient % 2:
        dataset.PixelPaddingValue = PADDING_HU + 1024
    _save(dataset, path)


def _dataset(path: Path, patient: int, modality: str, pixels: NDArray[Any], *, bits: int) -> Any:
    """A grey single-frame dataset with a made-up patient, so that tests can look for the name where it must not be."""
    try:
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian
    except ImportError:
        raise missing_extra("dicom", "making DICOM phantoms") from None
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_CT_CLASS if modality == "CT" else _DX_CLASS)
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{key('phantom instance', path.name)}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = f"Phantom^Number{patient}", f"PHANTOM{patient:06d}"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing = [SPACING_MM, SPACING_MM]
    dataset.PixelData = pixels.tobytes()
    return dataset


def _save(dataset: Any, path: Path) -> None:
    dataset.save_as(path, enforce_file_format=True)
