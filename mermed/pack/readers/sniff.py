"""Sniff: which family of formats a file belongs to, by its first bytes and never by its name."""

import zlib
from pathlib import Path
from typing import Literal

Family = Literal[
    "raster", "animation", "stack", "slide", "dicom", "nifti", "oct", "video", "volume", "array", "hdf5",
    "archive", "compressed", "compressed_tar", "executable", "text", "unknown",
]  # fmt: skip
HEAD_BYTES = 512

_STARTS: tuple[tuple[bytes, Family], ...] = (
    (b"\xff\xd8\xff", "raster"),
    (b"\x89PNG\r\n\x1a\n", "raster"),
    (b"II*\0", "raster"),
    (b"MM\0*", "raster"),
    (b"II+\0", "raster"),
    (b"MM\0+", "raster"),
    (b"BM", "raster"),
    (b"GIF8", "raster"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "raster"),
    (b"\xff\x4f\xff\x51", "raster"),
    (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"0&\xb2u\x8ef\xcf\x11", "video"),
    (b"\x93NUMPY", "array"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"HSF-OCT", "oct"),
    (b"ZISRAWFILE", "slide"),
    (b"NRRD", "volume"),
    (b"ObjectType = Image", "volume"),
    (b"NDims = ", "volume"),
    (b"CMDb\0", "volume"),
    (b"FOCTFD", "volume"),
    (b"PK\x03\x04", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "compressed"),
    (b"Rar!\x1a\x07", "compressed"),
    (b"BZh", "compressed"),
    (b"\xfd7zXZ\0", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"MZ", "executable"),
    (b"\x7fELF", "executable"),
    (b"\xcf\xfa\xed\xfe", "executable"),
    (b"\xce\xfa\xed\xfe", "executable"),
    (b"\xfe\xed\xfa\xcf", "executable"),
    (b"\xfe\xed\xfa\xce", "executable"),
    (b"\xca\xfe\xba\xbe", "executable"),
    (b"#!", "executable"),
)
_RIFF: dict[bytes, Family] = {b"WEBP": "raster", b"AVI ": "video"}
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_NIFTI_1, _NIFTI_2 = (b"n+1\0", b"ni1\0"), (b"n+2\0", b"ni2\0")
# The header of Analyze 7.5, whose only mark is its own length.
_ANALYZE = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
# A DICOM file without preamble starts with an element of group 0002 or 0008, little endian.
_BARE_DICOM = tuple(
    bytes((group, 0, element, 0))
    for group, element in ((2, 0), (2, 1), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x12), (8, 0x16), (8, 0x18))
)


def sniff(path: Path) -> Family:
    """The family of the file at `path`; reads its first 512 bytes."""
    with path.open("rb") as file:
        return sniff_head(file.read(HEAD_BYTES))


def sniff_head(head: bytes) -> Family:
    """The family that the first bytes of a file announce.

    An executable that also carries the DICOM mark is an executable (CVE-2019-11687): nothing we pack starts so.
    """
    family: Family | None = next((family for start, family in _STARTS if head.startswith(start)), None)
    if family == "executable":
        return family
    if head[128:132] == b"DICM" or head.startswith(_BARE_DICOM):
        return "dicom"
    if family:
        return family
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "unknown" if head[8:12] in _STILL_BRANDS else "video"
    if head.startswith(b"\x1f\x8b"):
        return _inside_gzip(head)
    if head[344:348] in _NIFTI_1 or head[4:8] in _NIFTI_2:
        return "nifti"
    if head[:4] in _ANALYZE:
        return "volume"
    if head[257:262] == b"ustar":
        return "archive"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if head and printable >= 0.95 * len(head) else "unknown"


def _inside_gzip(head: bytes) -> Family:
    """The family of what a gzip file holds: a volume is read through it, anything else is to be unpacked first."""
    try:
        inner = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return "compressed"
    if inner[257:262] == b"ustar":
        return "compressed_tar"
    family = "unknown" if inner.startswith(b"\x1f\x8b") else sniff_head(inner)
    return family if family in ("nifti", "volume") else "compressed"
