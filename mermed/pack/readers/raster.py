"""Raster: JPEG, PNG, TIFF, BMP, WebP, GIF and JPEG 2000 files to a RawImage, through Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from mermed.pack.raw import Bounds, Frames, RawFile, RawImage, RejectedInput, check_size
from mermed.pack.readers.float_tiff import read_float64_tiff
from mermed.pack.treatment import Treatment

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF_MAGICS = (b"II*\0", b"MM\0*")
_SUB_IFDS = 330
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_ORIENTATION = 274


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one raster file; see `mermed.pack.reading`."""
    return Frames.single(read_raster(file.path, bounds))


def read_raster(path: Path, bounds: Bounds) -> RawImage:
    """Read one raster file, upright and without alpha; raises RejectedInput.

    Grey of more than 8 bits keeps its values (scale "stored"), because a conversion by Pillow would saturate them.
    """
    try:
        with _open(path, bounds) as image:
            _check_single(image)
            check_size(*image.size, bounds)
            _reduce_jpeg(image, bounds)
            image.load()
            return _to_raw(image)
    except UnidentifiedImageError:
        if path.open("rb").read(4) in _TIFF_MAGICS:
            return read_float64_tiff(path, bounds)
        raise RejectedInput("not_an_image", "no known image format") from None
    except (OSError, SyntaxError, EOFError) as error:
        # "truncated" is the one word Pillow's errors share where a file of any format ends early.
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise RejectedInput("truncated", "the image data ends early") from None
        raise RejectedInput("corrupt", f"the decoder gave up ({type(error).__name__})") from None


def _open(path: Path, bounds: Bounds) -> Image.Image:
    """Open with our bound in the place of Pillow's own, which warns where it should refuse."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(path, formats=FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_single(image: Image.Image) -> None:
    if getattr(image, "is_animated", False) and image.format != "MPO":
        if image.format == "TIFF":
            raise RejectedInput("multi_frame", "a TIFF of several pages waits for its reader", bin="excluded")
        raise RejectedInput("video", "moving images wait for their reader", bin="excluded")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _SUB_IFDS in image.tag_v2:
        raise RejectedInput("multi_frame", "a TIFF pyramid waits for its reader", bin="excluded")


def _reduce_jpeg(image: Image.Image, bounds: Bounds) -> None:
    """Let libjpeg decode a large JPEG at 1/2, 1/4 or 1/8: it averages among frequencies, at a part of the cost."""
    if image.format in ("JPEG", "MPO") and min(image.size) >= 2 * bounds.least_side_px:
        share = bounds.least_side_px / min(image.size)
        image.draft(None, tuple(int(side * share) for side in image.size))  # type: ignore[arg-type]


def _to_raw(image: Image.Image) -> RawImage:
    inverted = _is_wide_white_zero(image)
    bits = _source_bits(image)
    image = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
    if image.mode in _WIDE_MODES:
        pixels, padding = _finite(np.asarray(image))
        return RawImage(pixels=pixels, scale="stored", source_bits=bits, is_inverted=inverted, padding=padding)
    return RawImage(pixels=np.asarray(_without_alpha(image)), scale="display", source_bits=bits)


def _source_bits(image: Image.Image) -> int:
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
    """The pixels with NaN and infinity marked as padding."""
    if pixels.dtype.kind != "f":
        return pixels, None
    missing = ~np.isfinite(pixels)
    return (np.where(missing, 0, pixels), missing) if missing.any() else (pixels, None)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Grey or RGB: transparent parts over black, palettes and CMYK resolved."""
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _on_black(image.convert("RGBA"))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La"):
        return _on_black(image.convert("RGBA")).convert("L")
    if image.mode in ("RGBA", "RGBa", "PA") or (image.mode == "P" and "transparency" in image.info):
        return _on_black(image.convert("RGBA"))
    return image.convert("RGB")


def _on_black(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, (0, 0, 0, 255))
    canvas.alpha_composite(image)
    return canvas.convert("RGB")
