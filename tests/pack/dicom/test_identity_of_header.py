"""Nothing of a header leaves the reader but numbers about pixels, whatever the object and however it fails."""

import dataclasses

import numpy as np
import pytest

from mermed.contract import SampleMeta
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Treatment

pydicom = pytest.importorskip("pydicom")

MARK = "PLANTED"
NUMBER = "19570314"
UID_MARK = "1.2.999.19570314"


def plant(dataset):
    """Put marks into every element of the dictionary that takes text, a date or a UID, and into private ones."""
    from pydicom.datadict import DicomDictionary

    values = {
        **dict.fromkeys(("PN", "LO", "SH", "ST", "LT", "UT", "UC"), MARK),
        "UI": UID_MARK,
        "DA": NUMBER,
        "DT": f"{NUMBER}120000",
        "TM": "120314",
        "AS": "095Y",
    }
    for tag, (kind, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if kind in values and not retired and keyword and group not in (0x0000, 0x0002, 0x0004) and tag not in dataset:
            dataset.add_new(tag, kind, values[kind])
    dataset.PatientName, dataset.PatientID, dataset.PatientAge = f"{MARK}^{MARK}", f"{MARK}42", "095Y"
    dataset.private_block(0x0009, MARK, create=True).add_new(1, "LO", MARK)
    dataset.private_block(0x0011, MARK, create=True).add_new(2, "UN", MARK.encode())


def text_of(value):
    """Everything that a value says, arrays by their bytes as well."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes()!r}"
    if dataclasses.is_dataclass(value):
        return " ".join(text_of(getattr(value, entry.name)) for entry in dataclasses.fields(value))
    return repr(value)


KINDS = {
    "radiograph": {},
    "ct": {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400},
    "ultrasound": {"Modality": "US", "colour": True},
    "cine": {"Modality": "US", "frames": 4},
    "volume": {"Modality": "MR", "frames": 4},
    "slide": {"Modality": "SM", "frames": 4, "colour": True},
    "deflated": {"syntax": "1.2.840.10008.1.2.1.99"},
    "implicit": {"syntax": "1.2.840.10008.1.2"},
    "mask": {"Modality": "SEG"},
    "burned in": {"BurnedInAnnotation": "YES"},
    "no decoder": {"syntax": "1.2.840.10008.1.2.4.55"},
    "no pixels": {"PhotometricInterpretation": ""},
    "too large": {"Rows": 65535, "Columns": 65535},
    "cut": {"Rows": 2000},
    "odd colour": {"PhotometricInterpretation": MARK},
    "odd bits": {"BitsStored": 99},
    "out of range": {"Modality": "CT", "RescaleSlope": 100, "RescaleIntercept": 0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_planted_word_leaves_the_reader(kind, write, noise, caplog, capfd):
    options = dict(KINDS[kind])
    is_colour, frames = options.pop("colour", False), options.get("frames", 0)
    shape = (*((frames,) if frames else ()), 64, 64, *((3,) if is_colour else ()))
    bits = 12 if kind in ("ct", "out of range") else 8
    pixels = noise(*shape, bits=bits) if not options.get("syntax", "").endswith("4.55") else noise(64, 64)
    if kind == "no decoder":
        options["PixelData"] = pydicom.encaps.encapsulate([bytes(64)])
    path, dataset = write(pixels, bits=bits, **options)
    plant(dataset)
    dataset.save_as(path)
    assert path.read_bytes().count(MARK.encode()) > 500 or kind == "deflated"
    found = []
    try:
        for item in read_frames(RawFile(path), Bounds(), Treatment()):
            found.append(text_of(item))
    except RejectedInput as rejected:
        found.append(f"{rejected.reason_slug} {rejected.detail} {rejected} {rejected.args!r}")
    output = capfd.readouterr()
    said = " ".join([*found, caplog.text, output.out, output.err])
    assert found
    for mark in (MARK, NUMBER, UID_MARK, "095Y", path.name):
        assert mark not in said


@pytest.mark.parametrize("age", ["095Y", "000D", "101Y"])
def test_no_age_of_any_kind_has_a_place_to_go(age, write, noise):
    path, dataset = write(noise(24, 32), bits=8)
    dataset.add_new(0x00101010, "AS", age)
    dataset.save_as(path)
    (image,) = read_frames(RawFile(path), Bounds(), Treatment())
    assert age not in text_of(image)
    names = {entry.name for entry in dataclasses.fields(RawImage)} | set(SampleMeta.__struct_fields__)
    assert not {name for name in names if "age" in name.split("_") or "birth" in name or "date" in name}


def test_only_numbers_about_pixels_are_read_at_all():
    from pydicom.datadict import dictionary_VR

    from mermed.pack.readers.dicom_file import HEADER_TAGS

    words = {
        tag for tag in HEADER_TAGS if dictionary_VR(tag) not in ("CS", "DS", "IS", "US", "US or SS", "UL", "OW", "SQ")
    }
    assert words == {0x00281054}  # RescaleType, which is only compared with "HU"
    assert not {tag for tag in HEADER_TAGS if tag >> 16 in (0x0010, 0x0032, 0x0038) or tag >> 16 & 1}
