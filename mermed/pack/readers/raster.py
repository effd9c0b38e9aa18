"""Raster: JPEG, PNG, TIFF, BMP, WebP, GIF and JPEG 2000 files to a RawImage, through Pillow."""

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.colour import to_colour
from mermed.pack.readers.float_tiff import LARGEST, read_float64_tiff
from mermed.pack.readers.png_chunks import check_png
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedInput, check_size
from mermed.pack.treatment import Treatment

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF_MAGICS = (b"II*\0", b"MM\0*")
_SUB_IFDS = 330
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_ORIENTATION = 274
_TURNED = range(2, 9)
_REDUCED = ("JPEG", "MPO")
LEAST_TOP = 32
"""A 16-bit colour picture whose brightest value is below this after its low byte was dropped used that byte only."""


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one raster file; see `mermed.pack.readers.reading`."""
    return Frames.single(read_raster(file, bounds))


def read_raster(file: RawFile, bounds: Bounds) -> RawImage:
    """Read one raster file or member, upright and without alpha; raises RejectedInput.

    Grey of more than 8 bits keeps its values (scale "stored"), because a conversion by Pillow would saturate them.
    """
    with open_raw(file, bounds) as stream:
        try:
            return _read(stream, bounds)
        except UnidentifiedImageError:
            stream.seek(0)
            if stream.read(4) in _TIFF_MAGICS:
                return read_float64_tiff(stream, bounds)
            raise RejectedInput("not_an_image", "no known image format") from None
        except (OSError, SyntaxError, EOFError) as error:
            # "truncated" is the one word Pillow's errors share where a file of any format ends early.
            if "truncated" in str(error).lower() or isinstance(error, EOFError):
                raise RejectedInput("truncated", "the image data ends early") from None
            raise RejectedInput("corrupt", f"the decoder gave up ({type(error).__name__})") from None


def _read(stream: BinaryIO, bounds: Bounds) -> RawImage:
    with open_image(stream) as image:
        _check_single(image)
        check_size(*image.size, bounds)
        if image.format == "PNG":
            at = stream.tell()
            check_png(stream)
            stream.seek(at)
        width, height = image.size
        _reduce_jpeg(image, bounds)
        return to_raw(image, source_size=(width, height))


def open_image(stream: BinaryIO) -> Image.Image:
    """Open with our bound in the place of Pillow's own, which warns where it should refuse; the caller checks it."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(stream, formats=FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_single(image: Image.Image) -> None:
    """Refuse what holds several images; a file is looked at before it comes here, so few do."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        kind = "several pages" if image.format == "TIFF" else "moving images"
        raise RejectedInput("multi_frame", f"{kind} where one image was expected", bin="excluded")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _SUB_IFDS in image.tag_v2:
        raise RejectedInput("multi_frame", "a TIFF pyramid where one image was expected", bin="excluded")


def _reduce_jpeg(image: Image.Image, bounds: Bounds) -> None:
    """Let libjpeg decode a large JPEG at 1/2, 1/4 or 1/8: it averages among frequencies, at a part of the cost."""
    if image.format in _REDUCED and min(image.size) >= 2 * bounds.least_side_px:
        share = bounds.least_side_px / min(image.size)
        image.draft(None, tuple(int(side * share) for side in image.size))  # type: ignore[arg-type]


def to_raw(image: Image.Image, *, source_size: tuple[int, int] | None = None) -> RawImage:
    """An opened Pillow image (one page, one frame) as a RawImage, upright; raises RejectedInput, and what Pillow does.

    `source_size` is the (width, height) of the file where `image` is decoded reduced.
    """
    bits = _source_bits(image)
    # Asked for before the pixels are: Pillow turns a TIFF upright as it loads it, and drops the tag.
    notes = ("upright",) if image.getexif().get(_ORIENTATION, 1) in _TURNED else ()
    image.load()
    inverted = _is_wide_white_zero(image)
    source_shape = None
    if source_size and image.format in _REDUCED and source_size != image.size:
        notes, source_shape = ("reduce", *notes), (source_size[1], source_size[0])
    if image.getexif().get(_ORIENTATION, 1) in _TURNED:
        width, image = image.width, ImageOps.exif_transpose(image)
        if source_shape and width != image.width:
            source_shape = source_shape[1], source_shape[0]
    if image.mode in _WIDE_MODES:
        pixels, padding = _finite(np.asarray(image))
        return RawImage(
            pixels=pixels, scale="stored", source_bits=bits, is_inverted=inverted, padding=padding, notes=notes
        )
    shown, more = to_colour(image)
    raw = RawImage.of_picture(shown, source_bits=bits, source_shape=source_shape, notes=(*notes, *more))
    if bits == 16 and raw.pixels.max(initial=0) < LEAST_TOP:
        raise RejectedInput("no_decoder", "a 16-bit picture with colour or alpha that uses its low bits only")
    return raw


def _source_bits(image: Image.Image) -> int:
    """Bits per channel in the file, which only an image that is not loaded yet can tell."""
    raw_modes = [str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) for tile in getattr(image, "tile", ())]
    if any("16" in mode for mode in raw_modes) or image.mode.startswith("I;16"):
        return 16
    return {"I": 32, "F": 32, "1": 1}.get(image.mode, 8)


def _is_wide_white_zero(image: Image.Image) -> bool:
    """True for grey TIFFs of more than 8 bits that store white as 0; Pillow turns only the 8-bit ones round."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.mode in _WIDE_MODES
        and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )


def _finite(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The pixels with NaN, infinity and what no instrument measures marked as padding."""
    if pixels.dtype.kind != "f":
        return pixels, None
    missing = ~(np.abs(pixels) < LARGEST)
    return (np.where(missing, 0, pixels), missing) if missing.any() else (pixels, None)
