"""Families by content: what is read, what is known and left out, and what must be unpacked first."""

import gzip
import io
import struct
import tarfile

import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput
from mermed.pack.readers.reading import read_frames, sniff_member
from mermed.pack.readers.sniff import sniff_head
from mermed.pack.treatment import Treatment

NOISE = bytes(range(128, 256)) * 4


def nifti(mark, version=1):
    header = bytearray(540)
    header[0:4] = struct.pack("<i", 348 if version == 1 else 540)
    place = 344 if version == 1 else 4
    header[place : place + 4] = mark
    return bytes(header)


def tar(name="a"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "family"),
    [
        (nifti(b"n+1\0"), "nifti"),
        (nifti(b"ni1\0"), "nifti"),
        (nifti(b"n+2\0", 2), "nifti"),
        (gzip.compress(nifti(b"n+1\0") + NOISE), "nifti"),
        (nifti(b"\0\0\0\0"), "volume"),
        (b"NRRD0004\n# text" + NOISE, "volume"),
        (b"ObjectType = Image\nNDims = 3\n", "volume"),
        (b"CMDb\0" + NOISE, "volume"),
        (b"FOCTFDA" + NOISE, "volume"),
        (b"HSF-OCT-103\0" + NOISE, "oct"),
        (b"ZISRAWFILE\0" + NOISE, "slide"),
        (b"PK\x03\x04" + NOISE, "archive"),
        (tar(), "archive"),
        (gzip.compress(tar()), "compressed_tar"),
        (gzip.compress(b"a,b\n1,2\n"), "compressed"),
        (gzip.compress(gzip.compress(nifti(b"n+1\0"))), "compressed"),
        (b"\x1f\x8b\x08 nothing that unfolds", "compressed"),
        (b"7z\xbc\xaf\x27\x1c" + NOISE, "compressed"),
        (b"Rar!\x1a\x07\x01" + NOISE, "compressed"),
        (b"\x28\xb5\x2f\xfd" + NOISE, "compressed"),
        (NOISE, "unknown"),
        (b"", "unknown"),
    ],
)
def test_the_first_bytes_name_the_family(head, family):
    assert sniff_head(head[:512]) == family


def test_a_program_in_the_preamble_is_a_program_whatever_follows():
    assert sniff_head(b"MZ" + nifti(b"n+1\0")[2:]) == "executable"
    assert sniff_head(b"PK\x03\x04" + bytes(124) + b"DICM") == "dicom"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("x.mrxs", "slide"),
        ("x.NDPI", "slide"),
        ("x.img", "nifti"),
        ("x.mgz", "volume"),
        ("x.mov", "video"),
        ("x.dat", "unknown"),
    ],
)
def test_a_name_helps_only_where_the_bytes_say_nothing(name, family, tmp_path):
    (tmp_path / name).write_bytes(NOISE)
    assert sniff_member(RawFile(tmp_path / name), Bounds()) == family
    (tmp_path / name).write_bytes(b"\x7fELF" + NOISE)
    assert sniff_member(RawFile(tmp_path / name), Bounds()) == "executable"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"PK\x03\x04" + NOISE, ("quarantined", "archive")),
        (gzip.compress(tar()), ("quarantined", "compressed_tar")),
        (gzip.compress(NOISE), ("quarantined", "compressed")),
        (b"NRRD0004\n" + NOISE, ("excluded", "volume")),
    ],
)
def test_what_is_not_read_says_why(content, expected, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(RejectedInput) as caught:
        list(read_frames(RawFile(tmp_path / "x"), Bounds(), Treatment()))
    assert (caught.value.bin, caught.value.reason_slug) == expected
