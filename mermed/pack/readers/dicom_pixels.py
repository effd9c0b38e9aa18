"""DICOM pixels: frames decoded one at a time, and their stored values turned into grey with a unit, or RGB."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import as_pixel_options

from mermed.pack.readers.codestream import has_end, stream_size
from mermed.pack.readers.dicom_file import DicomFile, find_fragments
from mermed.pack.readers.dicom_header import (
    FrameHeader,
    number,
    padding_of,
    region_of,
    spacing_of,
    voi_of,
    whole,
)
from mermed.pack.readers.hounsfield import NEAR_WATER_HU, check_hounsfield
from mermed.pack.readers.raw import Bounds, RawImage, RejectedInput, Scale
from mermed.pack.treatment import Treatment

_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_CHANNELS = ("Red", "Green", "Blue")
_RGB = ("RGB", "YBR_RCT", "YBR_ICT")
_PREFERRED = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}
"""Where several plugins read a syntax, the one that does: what is packed must not depend on what else is installed."""
_MORE_DECODERS = "pip install 'mermed[gdcm]' adds JPEG lossless and JPEG-LS"
_TWELVE_BITS = "pip install pylibjpeg-libjpeg (GPL-3.0) adds 12-bit JPEG"


@dataclass(frozen=True, slots=True)
class Stored:
    """One decoded frame: its stored values in native byte order, and what their colour model turned out to be."""

    values: NDArray[Any]
    photometric: str


class FrameDecoder:
    """Decodes any frame of an opened file, alone; raises RejectedInput for what is cut or read by no decoder."""

    def __init__(self, file: DicomFile, frames: int, bounds: Bounds) -> None:
        if file.pixels is None:
            raise RejectedInput("no_pixels", "the object holds no pixel data")
        self._file, self._name = file, _syntax_name(file)
        self._decoder = _find_decoder(file, self._name)
        self._options = _options(file, self._decoder, frames)
        if file.syntax.is_encapsulated:
            self._prepare_fragments(frames, bounds)
        else:
            _check_native(file, self._options)

    def _prepare_fragments(self, frames: int, bounds: Bounds) -> None:
        """Check every codestream against the header, and tell pydicom where the frames are when there is no doubt."""
        fragments = find_fragments(self._file, bounds)
        if len(fragments) < frames:
            raise RejectedInput(
                "truncated", f"the header claims {frames} frames, and {len(fragments)} fragments are there"
            )
        expected = self._options["rows"], self._options["columns"]
        for start, length in fragments:
            size = stream_size(self._file.stream, start, length)
            if size not in (None, expected):
                raise RejectedInput("corrupt", "a compressed frame claims another size than the header")
            # Decoders show what there is of a cut frame, and grey below it.
            if size and len(fragments) == frames and not has_end(self._file.stream, start, length):
                raise RejectedInput("truncated", "a compressed frame has no end mark")
        if len(fragments) == frames:
            first = fragments[0][0]
            offsets = [start - first for start, _ in fragments]
            self._options["extended_offsets"] = offsets, [length for _, length in fragments]
        else:
            self._options.pop("extended_offsets", None)

    def decode(self, index: int) -> Stored:
        """One frame, from 0."""
        assert self._file.pixels is not None
        self._file.stream.seek(self._file.pixels.start)
        try:
            values, properties = self._decoder.as_array(self._file.stream, index=index, **self._options)
        except (RuntimeError, NotImplementedError) as error:
            raise _no_decoder_or_corrupt(error, self._name) from None
        except ValueError:
            raise RejectedInput("corrupt", "the pixel data does not fit its header") from None
        # Some decoders hand out big-endian arrays; everything after this works on native ones.
        native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
        return Stored(native, str(properties["photometric_interpretation"]))


def _syntax_name(file: DicomFile) -> str:
    return file.syntax.name if file.syntax.is_transfer_syntax else "an unknown transfer syntax"


def _find_decoder(file: DicomFile, name: str) -> Any:
    if file.syntax.is_transfer_syntax and re.search("MPEG|HEVC", name):
        raise RejectedInput("video", "a film inside DICOM; unpack its stream to a file first", bin="excluded")
    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError:
        raise RejectedInput("no_decoder", f"{name} is retired or not known to any decoder") from None
    if not decoder.is_available:
        raise RejectedInput("no_decoder", _no_decoder_for(name))
    return decoder


def _no_decoder_or_corrupt(error: Exception, name: str) -> RejectedInput:
    """Why all decoders gave up. Their text is only searched, never passed on."""
    if re.search(r"not support|missing dep", str(error)):
        return RejectedInput("no_decoder", _no_decoder_for(name))
    return RejectedInput("corrupt", f"no decoder of {name} could read the pixels")


def _no_decoder_for(name: str) -> str:
    more = _TWELVE_BITS if name.startswith("JPEG Extended") else _MORE_DECODERS
    return f"no installed decoder reads {name}; {more}"


def _options(file: DicomFile, decoder: Any, frames: int) -> dict[str, Any]:
    """What pydicom is told of the pixels: the header, with the defaults of elements that writers forget."""
    assert file.pixels is not None
    options: dict[str, Any] = {"samples_per_pixel": 1, "pixel_representation": 0, "planar_configuration": 0}
    options |= as_pixel_options(file.header, number_of_frames=frames)
    if (plugin := _PREFERRED.get(str(file.syntax), "")) in decoder.available_plugins:
        options["decoding_plugin"] = plugin
    options.setdefault("bits_stored", options["bits_allocated"])
    options["pixel_keyword"] = file.pixels.keyword
    if file.pixels.keyword != "PixelData":
        options["bits_stored"] = options["bits_allocated"]
    if file.pixels.vr:
        options["pixel_vr"] = file.pixels.vr
    return options


def _check_native(file: DicomFile, options: dict[str, Any]) -> None:
    """Refuse uncompressed pixels that are cut, and set right those that are not subsampled as announced."""
    assert file.pixels is not None
    pixels = options["rows"] * options["columns"] * options["number_of_frames"]
    num_bytes = pixels * options["samples_per_pixel"] * options["bits_allocated"] // 8
    if options["photometric_interpretation"] == "YBR_FULL_422":
        if file.pixels.num_bytes >= num_bytes:
            options["photometric_interpretation"] = "YBR_FULL"
        else:
            num_bytes = num_bytes // 3 * 2
    if file.pixels.num_bytes < num_bytes:
        raise RejectedInput("truncated", f"{file.pixels.num_bytes} bytes of pixels, and the header claims {num_bytes}")


class ImageMaker:
    """Turns the stored values of an object's frames into images; raises RejectedInput."""

    def __init__(self, dataset: Dataset, treatment: Treatment) -> None:
        self._dataset, self._treatment = dataset, treatment
        self._bits = whole(dataset, "BitsStored", whole(dataset, "BitsAllocated", 0))
        self._scan = region_of(dataset)
        self._palette: tuple[int, NDArray[np.uint8]] | None = None

    def make(self, stored: Stored, header: FrameHeader, frame: int | None) -> RawImage:
        """The image of one frame, in the units of its source, with the VOI of the header beside it and not applied."""
        region, region_spacing = self._scan or (None, None)
        spacing_mm = spacing_of(header) or region_spacing
        if stored.photometric in (*_GREY, _PALETTE) and stored.values.ndim != 2:
            raise RejectedInput("corrupt", "several values per pixel where the colour model has one")
        if stored.photometric not in _GREY:
            return RawImage(
                pixels=self.to_rgb(stored),
                scale="display",
                source_bits=self._bits,
                spacing_mm=spacing_mm,
                frame=frame,
                region=region,
            )
        notes: tuple[str, ...] = ()
        padding = padding_of(stored.values, self._dataset)
        values, scale = self._to_values(stored.values, header)
        if scale == "hounsfield":
            before = values
            slope = number(header.group("PixelValueTransformationSequence").get("RescaleSlope")) or 1.0
            values, padding = check_hounsfield(
                values,
                padding,
                abs(slope) * 2.0**self._bits,
                can_wrap=slope == 1.0 and stored.values.dtype.kind == "u",
                fix_sign=self._treatment.fix_sign,
            )
            notes = ("fix_sign",) if values is not before else ()
        return RawImage(
            pixels=values,
            scale=scale,
            source_bits=self._bits,
            voi=voi_of(header),
            is_inverted=stored.photometric == "MONOCHROME1",
            padding=padding,
            spacing_mm=spacing_mm,
            frame=frame,
            region=region,
            notes=notes,
        )

    def to_rgb(self, stored: Stored) -> NDArray[np.uint8]:
        """8-bit RGB of a colour frame; YBR is RGB already when it comes from the decoder."""
        if stored.photometric == _PALETTE:
            first, colours = self._palette = self._palette or _palette(self._dataset)
            return colours[np.clip(stored.values.astype(np.int64) - first, 0, len(colours) - 1)]
        if stored.photometric not in _RGB or stored.values.ndim != 3 or stored.values.shape[2] != 3:
            raise RejectedInput("no_decoder", "a colour model that is neither grey, RGB, YBR nor a palette")
        shift = max(0, self._bits - 8)
        return (stored.values >> shift).astype(np.uint8) if shift else stored.values.astype(np.uint8, copy=False)

    def to_levels(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Stored grey values in 8 bits by the depth of the header alone, the same for every frame."""
        if stored.dtype.kind == "f":
            return np.clip(stored, 0, 255).astype(np.uint8)
        whole_range = stored if stored.dtype.kind == "u" else stored.astype(np.int64) + 2 ** (self._bits - 1)
        levels = whole_range >> (self._bits - 8) if self._bits >= 8 else whole_range << (8 - self._bits)
        return levels.astype(np.uint8)

    def _to_values(self, stored: NDArray[Any], header: FrameHeader) -> tuple[NDArray[Any], Scale]:
        """Grey after the modality transform, and what its numbers mean."""
        if "ModalityLUTSequence" in self._dataset:
            return apply_modality_lut(stored, self._dataset), "stored"
        item = header.group("PixelValueTransformationSequence")
        slope, intercept = number(item.get("RescaleSlope")), number(item.get("RescaleIntercept"))
        if slope is None or intercept is None:
            if stored.dtype.kind == "u" and self._bits <= 8:
                return (stored.astype(np.uint16) * 255 // (2**self._bits - 1)).astype(np.uint8), "display"
            return _finite(stored), "stored"
        values = _rescale(stored, slope, intercept)
        is_ct = self._dataset.get("Modality") == "CT" and (item.get("RescaleType") or "HU") == "HU"
        # Eight bits without a sign that start near water have no place for air: a screen, not Hounsfield units.
        is_screen = self._bits <= 8 and stored.dtype.kind == "u" and intercept > NEAR_WATER_HU
        if is_ct and not is_screen:
            return values, "hounsfield"
        if values is stored and stored.dtype == np.uint8 and self._bits == 8:
            return values, "display"
        return values, "stored"


def _rescale(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """`stored` * slope + intercept, in whole numbers where they stay whole."""
    if (slope, intercept) == (1.0, 0.0):
        return _finite(stored)
    if slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu":
        is_small = stored.dtype.itemsize <= 2 and max(abs(slope), abs(intercept)) < 2**14
        if not is_small and max(abs(slope), abs(intercept)) >= 2**31:
            raise RejectedInput("corrupt", "the rescale of the header leads to no sane values")
        kind = np.dtype(np.int32 if is_small else np.int64)
        if slope == 1.0:
            return np.add(stored, kind.type(int(intercept)), dtype=kind)
        return stored.astype(kind) * int(slope) + int(intercept)
    return _finite(stored * slope + intercept)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise RejectedInput("corrupt", "values that are not finite")
    return values


def _palette(dataset: Dataset) -> tuple[int, NDArray[np.uint8]]:
    """The first value that the palette maps, and its colours [entries 3] as 8-bit RGB."""
    descriptor = dataset.get("RedPaletteColorLookupTableDescriptor")
    if not descriptor or len(descriptor) != 3:
        raise RejectedInput("corrupt", "a palette image without a palette")
    count, first = int(descriptor[0]) or 2**16, int(descriptor[1])
    if "RedPaletteColorLookupTableData" in dataset:
        tables = [_entries(dataset.get(f"{name}PaletteColorLookupTableData"), count, dataset) for name in _CHANNELS]
        colours = np.stack(tables, axis=1)
    else:
        colours = apply_color_lut(np.arange(first, first + count, dtype=np.int32), dataset)[..., :3]
    # Tables announce 16 bits and hold 8 often enough that only the values tell.
    return first, (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def _entries(data: Any, count: int, dataset: Dataset) -> NDArray[Any]:
    """The entries of one channel's table, of 8 or 16 bits by their number of bytes."""
    content = data if isinstance(data, bytes) else b""
    if len(content) >= 2 * count:
        order = ">" if dataset.original_encoding[1] is False else "<"
        return np.frombuffer(content, f"{order}u2", count)
    if len(content) < count:
        raise RejectedInput("corrupt", "the palette is shorter than it says")
    return np.frombuffer(content, np.uint8, count)
