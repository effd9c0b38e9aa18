"""DICOM file: the allow-listed header of one file, and where in it the pixels lie."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mermed.pack.readers.archive import MAX_RATIO, RATIO_FROM_BYTES, open_raw
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput

_NAMES = """
    Modality ImageType BurnedInAnnotation FrameTime FrameTimeVector CineRate RecommendedDisplayFrameRate
    SequenceOfUltrasoundRegions SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows
    Columns BitsAllocated BitsStored PixelRepresentation PixelSpacing ImagerPixelSpacing PixelPaddingValue
    PixelPaddingRangeLimit RescaleSlope RescaleIntercept RescaleType ModalityLUTSequence WindowCenter WindowWidth
    VOILUTFunction VOILUTSequence TotalPixelMatrixColumns SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
    BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
    SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData
"""
HEADER_TAGS = [tag for name in _NAMES.split() if (tag := tag_for_keyword(name)) is not None]
"""The only elements that are read at all: no name, number, date or UID of a patient is among them."""
_PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_UNDEFINED = 0xFFFFFFFF
_VALUE_REPRESENTATIONS = (
    b"AE",
    b"CS",
    b"DA",
    b"IS",
    b"LO",
    b"OB",
    b"PN",
    b"SH",
    b"SQ",
    b"TM",
    b"UI",
    b"UL",
    b"UN",
    b"US",
)
MAX_ELEMENTS = 100_000
"""Most elements of one header; a real one has a few hundred."""
MAX_VALUE_BYTES = 2**28
"""Most bytes of one element of the header; the functional groups of 100,000 tiles take a tenth of it."""
MAX_FRAGMENTS = 2**21
_GULP = 2**20


@dataclass(frozen=True, slots=True)
class PixelPart:
    """The element that holds the pixels: its keyword, its VR (None when implicit), where its value starts, its bytes.

    `num_bytes` is what the file really has of it; for encapsulated frames, all up to the end of the file.
    """

    keyword: str
    vr: str | None
    start: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One opened file: its allow-listed header, its transfer syntax, its pixels (None when it has none), its bytes."""

    header: Dataset
    syntax: UID
    pixels: PixelPart | None
    stream: BinaryIO


class _Clamped:
    """A stream whose reads never ask for more than is there, so that a false length in a header costs no memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream.seek(0, SEEK_END)
        self.tell, self.seek = stream.tell, stream.seek
        stream.seek(0)

    def read(self, count: int = -1) -> bytes:
        left = max(0, self.size - self._stream.tell())
        return self._stream.read(left if count < 0 else min(count, left))


@contextmanager
def open_dicom(file: RawFile, bounds: Bounds, *, allow_bare: bool = True) -> Iterator[DicomFile]:
    """Open a DICOM file or member and read its header, never its pixels; raises RejectedInput.

    A deflated object is unfolded within the bounds first. Without `allow_bare`, a file without preamble is not_dicom.
    """
    with open_raw(file, bounds) as opened:
        stream: Any = _Clamped(opened)
        is_bare = stream.read(132)[128:] != b"DICM"
        if is_bare and not allow_bare:
            raise RejectedInput("not_dicom", "the file has no DICOM preamble, and the recipe asks for one")
        if is_bare:
            stream.seek(0)
        syntax = _read_syntax(stream)
        if syntax == DeflatedExplicitVRLittleEndian:
            stream, syntax = _Clamped(BytesIO(_inflate(stream, bounds))), ExplicitVRLittleEndian
        found = _read_header(stream, syntax or _guess_syntax(stream))
        if is_bare and found.pixels is None:
            raise RejectedInput("not_dicom", "the file has no DICOM preamble, and no pixels behind its place either")
        yield found


def _read_syntax(stream: Any) -> UID | None:
    """The transfer syntax of the meta group, leaving the stream behind it; None when there is no such group."""
    start = stream.tell()
    for is_implicit in (False, True):
        stream.seek(start)
        meta = read_dataset(stream, is_implicit, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        try:
            syntax = meta.get("TransferSyntaxUID")
        except NotImplementedError:
            continue  # A meta group written as implicit VR: wrong, and out there (pydicom#503).
        return UID(str(syntax)) if syntax else None
    return None


def _guess_syntax(stream: Any) -> UID:
    """Explicit or implicit VR, little endian, by the first element; the big-endian kind always says what it is."""
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    return ExplicitVRLittleEndian if head[4:6] in _VALUE_REPRESENTATIONS else ImplicitVRLittleEndian


def _read_header(stream: Any, syntax: UID) -> DicomFile:
    found: list[PixelPart] = []
    wanted = frozenset(HEADER_TAGS)
    count = 0

    def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise RejectedInput("limits", f"the header holds more than {MAX_ELEMENTS} elements")
        start = stream.tell()
        left = stream.size - start
        if tag in _PIXEL_KEYWORDS:
            found.append(
                PixelPart(_PIXEL_KEYWORDS[tag], vr, start, left if length == _UNDEFINED else min(length, left))
            )
        elif length not in (_UNDEFINED, min(length, left)):
            raise RejectedInput("truncated", "an element of the header claims more bytes than the file holds")
        elif length != _UNDEFINED and length > MAX_VALUE_BYTES and tag in wanted:
            raise RejectedInput("limits", f"an element of the header of more than {MAX_VALUE_BYTES} bytes")
        return tag in _PIXEL_KEYWORDS

    is_known = syntax.is_transfer_syntax
    header = read_dataset(
        stream,
        syntax.is_implicit_VR if is_known else False,
        syntax.is_little_endian if is_known else True,
        stop_when=is_pixel_data,
        specific_tags=list(HEADER_TAGS),
    )
    return DicomFile(header, syntax, found[-1] if found else None, stream)


def _inflate(stream: Any, bounds: Bounds) -> bytes:
    """All that is left of a deflated object, unfolded piece by piece; raises RejectedInput beyond the bounds."""
    unfolder, unfolded, taken = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 0
    while not unfolder.eof and (folded := unfolder.unconsumed_tail or stream.read(_GULP)):
        try:
            unfolded += unfolder.decompress(folded, _GULP)
        except zlib.error:
            raise RejectedInput("corrupt", "the deflated object cannot be unfolded") from None
        taken += len(folded) - len(unfolder.unconsumed_tail)
        if len(unfolded) > bounds.max_bytes:
            raise RejectedInput("limits", f"the object unfolds to more than {bounds.max_bytes} bytes")
        if len(unfolded) > RATIO_FROM_BYTES and len(unfolded) > MAX_RATIO * taken:
            raise RejectedInput("limits", f"the object unfolds to more than {MAX_RATIO} times its own bytes")
    return bytes(unfolded)


def find_fragments(file: DicomFile, bounds: Bounds) -> list[tuple[int, int]]:
    """Where the fragments of encapsulated frames start and how long they are, behind the table of offsets.

    Raises RejectedInput when the file ends inside one, when something else lies between them, and for more or longer
    ones than the bounds.
    """
    assert file.pixels is not None
    stream, end = file.stream, file.pixels.start + file.pixels.num_bytes
    fragments, at = [], file.pixels.start
    while at + 8 <= end:
        stream.seek(at)
        group, element, length = struct.unpack("<HHL", stream.read(8))
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000):
            raise RejectedInput("corrupt", "something else than a fragment lies among the frames")
        if at + 8 + length > end:
            raise RejectedInput("truncated", f"the file ends inside fragment {len(fragments)} of the pixel data")
        if length > bounds.max_bytes or len(fragments) > MAX_FRAGMENTS:
            raise RejectedInput("limits", f"more than {MAX_FRAGMENTS} fragments, or {bounds.max_bytes} bytes of one")
        fragments.append((at + 8, length))
        at += 8 + length
    return fragments[1:]
