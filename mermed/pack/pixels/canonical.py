"""Canonical: RawImage -> the one grey or RGB image that is stored. The order of all rules about pixels is on this page.

Units (HU offset) -> window -> 8 bits -> MONOCHROME1 inversion -> padding to black -> crop -> resize; or, where the
options keep 16 bits: units -> 16 bits -> inversion -> padding -> resize.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.pixels.crop import KINDS, Box, find_crop
from mermed.pack.pixels.deep import TOP, is_deep, keep_depth
from mermed.pack.pixels.display import show_deep
from mermed.pack.pixels.tone import Tone, choose_tone, understand
from mermed.pack.pixels.window import Window, to_grey
from mermed.pack.readers.raw import RawImage, RejectedInput
from mermed.pack.treatment import Treatment

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
LEAST_SPREAD = 1.0
"""An image whose grey levels spread less than this (standard deviation, of 255) shows nothing and is rejected."""
LEAST_MASK_SIDE_PX = 32
"""Smaller images may hold two levels only and be pictures all the same."""
# A filter without negative lobes, so a bright edge gets no dark rim that was not there.
_FILTER = Image.Resampling.HAMMING
_REDUCING_GAP = 3.0
_TRUST = Treatment()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CanonicalImage:
    """What will be stored, as an "L", "RGB" or "I;16" image and as its pixels; how it came about; its own spacing.

    `crop` is (top, left, height, width) in pixels of the source; `rescale` (slope, intercept) leads from 16-bit values
    to the units of `window`; `steps` names what was done, in order.
    """

    image: Image.Image
    pixels: Pixels
    window: tuple[float, float] | None
    spacing_mm: tuple[float, float] | None
    crop: Box | None = None
    rescale: tuple[float, float] | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plane:
    """An image on its way: all but its size is settled."""

    pixels: Pixels
    steps: tuple[str, ...]
    window: tuple[float, float] | None = None
    rescale: tuple[float, float] | None = None
    crop: Box | None = None


def make_canonical(raw: RawImage, modality: str, options: PackOptions, treatment: Treatment = _TRUST) -> CanonicalImage:
    """Turn `raw` into what is stored; raises RejectedInput for an image without content, or one that is a mask."""
    if (reduced := _reduce_picture(raw, modality, options, treatment)) is not None:
        return reduced
    if _is_mask(raw.pixels):
        raise RejectedInput("looks_like_mask", "the image has two levels only")
    raw = understand(raw, treatment)
    if is_deep(raw, modality, options.depth):
        plane = _keep(raw, choose_tone(raw, modality, options, treatment), treatment)
    else:
        plane = _flatten(raw, modality, options, treatment)
    pixels = _shrink(plane.pixels, options.side_px)
    if _is_blank(show_deep(pixels, plane.window, plane.rescale) if plane.window and plane.rescale else pixels):
        raise RejectedInput("blank", "the image is constant")
    return CanonicalImage(
        image=Image.fromarray(pixels),
        pixels=pixels,
        window=plane.window,
        spacing_mm=_spacing_of(raw, plane.pixels, pixels),
        crop=None if plane.crop is None else _in_source(plane.crop, raw),
        rescale=plane.rescale,
        steps=(*raw.notes, *plane.steps, *(("resize",) if pixels.shape != plane.pixels.shape else ())),
    )


def _reduce_picture(raw: RawImage, modality: str, options: PackOptions, treatment: Treatment) -> CanonicalImage | None:
    """A large RGB picture that nothing but its size has to be changed of: the same result by less copying.

    None for any other, and where a look at the reduced pixels leaves a doubt that only all of them can settle.
    """
    picture = raw.picture
    if picture is None or picture.mode != "RGB" or min(picture.size) <= options.side_px:
        return None
    sparse = picture.resize((max(picture.width // 16, 1), max(picture.height // 16, 1)), Image.Resampling.NEAREST)
    if _has_two_levels(np.asarray(sparse)[..., 1]):
        return None
    if raw.padding is not None or raw.region or raw.spacing_mm or (modality in KINDS and treatment.crop != "none"):
        return None
    pixels = np.asarray(
        picture.resize(_reduced_size(picture.size, options.side_px), _FILTER, reducing_gap=_REDUCING_GAP)
    )
    if _is_grey(pixels) or _is_blank(pixels):
        return None
    return CanonicalImage(
        image=Image.fromarray(pixels),
        pixels=pixels,
        window=None,
        spacing_mm=None,
        crop=None,
        rescale=None,
        steps=(*raw.notes, "resize"),
    )


def _keep(raw: RawImage, tone: Tone, treatment: Treatment) -> _Plane:
    """Grey in 16 bits, whole: nothing that has such depth has borders to cut."""
    is_inverted = raw.is_inverted or treatment.is_inverted
    deep = keep_depth(raw, tone, is_inverted)
    steps = _names("depth:16", is_inverted and "invert", raw.padding is not None and "padding")
    return _Plane(pixels=deep.pixels, steps=steps, window=deep.window, rescale=deep.rescale)


def _flatten(raw: RawImage, modality: str, options: PackOptions, treatment: Treatment) -> _Plane:
    """8-bit grey or RGB, cropped."""
    source = _collapse_grey(raw.pixels)
    is_grey = source.ndim == 2
    tone = choose_tone(raw, modality, options, treatment) if raw.pixels.ndim == 2 else Tone()
    is_inverted = is_grey and (raw.is_inverted or treatment.is_inverted)
    pixels = source if tone.curve is None else to_grey(source, tone.curve)
    if is_inverted:
        pixels = 255 - pixels
    if raw.padding is not None:
        pixels = np.where(raw.padding if is_grey else raw.padding[..., None], np.uint8(0), pixels)
    found = None if treatment.crop == "none" else find_crop(pixels, modality, raw.region)
    box, rule = found or (None, "")
    if box is not None:
        pixels = pixels[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    return _Plane(
        pixels=np.ascontiguousarray(pixels, dtype=np.uint8),
        steps=_names(
            source is not raw.pixels and "grey",
            tone.step,
            is_inverted and "invert",
            raw.padding is not None and "padding",
            found is not None and f"crop:{rule}",
        ),
        window=(tone.curve.centre, tone.curve.width) if isinstance(tone.curve, Window) else None,
        crop=box,
    )


def _names(*steps: str | bool) -> tuple[str, ...]:
    """The steps that were made; those that were not are False or empty."""
    return tuple(step for step in steps if isinstance(step, str) and step)


def _shrink(pixels: Pixels, side_px: int) -> Pixels:
    """Reduce the short side to `side_px`, averaging over what falls together; never enlarge."""
    height, width = pixels.shape[:2]
    if min(height, width) <= side_px:
        return pixels
    size = _reduced_size((width, height), side_px)
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(size, _FILTER, reducing_gap=_REDUCING_GAP))
    reduced = Image.fromarray(pixels.astype(np.float32)).resize(size, _FILTER, reducing_gap=_REDUCING_GAP)
    return np.clip(np.rint(np.asarray(reduced)), 0, TOP).astype(np.uint16)


def _reduced_size(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    """(width, height) with the short side reduced to `side_px`."""
    width, height = size
    short = min(size)
    return max(1, round(width * side_px / short)), max(1, round(height * side_px / short))


def _collapse_grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Store RGB whose channels are equal everywhere as grey: the same picture, a third of the work."""
    if pixels.ndim == 2 or not _is_grey(pixels[::8, ::8]) or not _is_grey(pixels):
        return pixels
    return np.ascontiguousarray(pixels[..., 0])


def _is_grey(pixels: NDArray[Any]) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def _is_mask(pixels: NDArray[Any]) -> bool:
    """True when every channel holds at most two levels, and one of them two; a few pixels usually settle it."""
    if min(pixels.shape[:2]) < LEAST_MASK_SIDE_PX or not _has_two_levels(_probe(pixels, 16)):
        return False
    return _has_two_levels(pixels) and bool((pixels != pixels[0, 0]).any())


def _has_two_levels(pixels: NDArray[Any]) -> bool:
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    return bool(((pixels == low) | (pixels == high)).all())


def _is_blank(pixels: NDArray[Any]) -> bool:
    """True when no channel spreads by LEAST_SPREAD; a few pixels usually settle it."""
    return _probe(pixels, 4).std() < LEAST_SPREAD and bool(pixels.std((0, 1)).max() < LEAST_SPREAD)


def _probe(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """Every `step`-th pixel, of the green channel where there is colour."""
    return np.ascontiguousarray(pixels[::step, ::step] if pixels.ndim == 2 else pixels[::step, ::step, 1])


def _spacing_of(raw: RawImage, whole: Pixels, pixels: Pixels) -> tuple[float, float] | None:
    """The spacing of the stored pixels: that of the source times the reduction from `whole`, to a nanometre."""
    if raw.spacing_mm is None:
        return None
    row, column = raw.spacing_mm
    (height, width), (new_height, new_width) = whole.shape[:2], pixels.shape[:2]
    return round(row * height / new_height, 6), round(column * width / new_width, 6)


def _in_source(box: Box, raw: RawImage) -> Box:
    """`box` in pixels of the file, where the reader decoded it reduced."""
    if raw.source_shape is None:
        return box
    ratios = [source / decoded for source, decoded in zip(raw.source_shape, raw.pixels.shape, strict=False)]
    top, left, height, width = (round(edge * ratio) for edge, ratio in zip(box, ratios * 2, strict=True))
    return top, left, min(height, raw.source_shape[0] - top), min(width, raw.source_shape[1] - left)
