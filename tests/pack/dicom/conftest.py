"""DICOM files made here with pydicom, and what the reader makes of them."""

import numpy as np
import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Treatment

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


@pytest.fixture
def write(tmp_path):
    """Write `pixels` (or `frames` of them) as a DICOM file with `tags` over the defaults; gives path and dataset."""
    pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    def make(pixels, *, bits=12, name="x.dcm", syntax=EXPLICIT_LITTLE_ENDIAN, frames=0, **tags):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
        meta.MediaStorageSOPInstanceUID = UID("2.25.1")
        meta.TransferSyntaxUID = UID(syntax)
        dataset = FileDataset(str(tmp_path / name), {}, file_meta=meta, preamble=bytes(128))
        dataset.PatientName, dataset.PatientID = "Secret^Name", "MRN0042"
        dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
        shape = pixels.shape[1:] if frames else pixels.shape
        dataset.Rows, dataset.Columns = shape[:2]
        if len(shape) == 3:
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        if frames:
            dataset.NumberOfFrames = frames
        dataset.BitsAllocated, dataset.BitsStored = pixels.dtype.itemsize * 8, bits
        dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        if meta.TransferSyntaxUID.is_transfer_syntax:
            dataset.set_original_encoding(
                meta.TransferSyntaxUID.is_implicit_VR, meta.TransferSyntaxUID.is_little_endian
            )
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name, dataset

    return make


@pytest.fixture
def items_of():
    """All items of a file, under a treatment and bounds given by name."""

    def read(path, member="", treatment=None, **bounds):
        return list(read_frames(RawFile(path, member), Bounds(**bounds), treatment or Treatment()))

    return read


@pytest.fixture
def reason_of(items_of):
    """The bin and reason of a file that is refused as a whole."""

    def read(path, member="", treatment=None, **bounds):
        with pytest.raises(RejectedInput) as caught:
            items_of(path, member, treatment, **bounds)
        return caught.value.bin, caught.value.reason_slug

    return read


@pytest.fixture
def items():
    """Sequence items from dicts of keywords; a dict as a value becomes a sequence of one item."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def build(*contents):
        built = []
        for content in contents:
            item = Dataset()
            for keyword, value in content.items():
                setattr(item, keyword, build(value) if isinstance(value, dict) else value)
            built.append(item)
        return Sequence(built)

    return build


@pytest.fixture
def noise():
    """Seeded noise of a shape: uint8, or uint16 of `bits`."""

    def make(*shape, bits=8, seed=0):
        values = np.random.default_rng(seed).integers(0, 2**bits, shape)
        return values.astype(np.uint16 if bits > 8 else np.uint8)

    return make
