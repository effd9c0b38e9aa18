"""DICOM frames: which frames of a cine, a volume or a tiled slide become images; the rest gets a reason."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.keyed import key, permute
from mermed.pack.readers.choosing import SMALL_SIDE, choose_slices, left_out, spread
from mermed.pack.readers.dicom_header import position_of, spacing_of
from mermed.pack.readers.dicom_object import DicomObject
from mermed.pack.readers.moving import take_frames
from mermed.pack.readers.raw import Bounds, Frames, RawImage, RejectedFrame, RejectedInput
from mermed.pack.treatment import Sampling

_MOVING = ("US", "IVUS", "XA", "RF", "ES", "XC", "GM", "DMS")
_TIMES = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")
LEAST_TILE_PX = 64
"""Tiles of a slide with a shorter side show no tissue architecture."""
LEAST_CHROMA = 20
"""Difference between the channels of a stained pixel, in levels of 255; glass and shadows have less."""
LOOKS_PER_TILE = 16
"""Most tiles looked at for each one that may be kept, so that an empty slide ends."""


class Opener(Protocol):
    """Opens the object again; the frames of a container outlive the call that chose them."""

    def __call__(self) -> AbstractContextManager[DicomObject]:
        """A fresh view of the same object."""
        ...


def choose_frames(item: DicomObject, reopen: Opener, bounds: Bounds, sampling: Sampling) -> Frames:
    """The frames kept of an object of several; raises RejectedInput for a slide of another resolution."""
    header = item.header
    if header.get("Modality") == "SM" or header.get("TotalPixelMatrixColumns"):
        return _tiles(item, reopen, sampling)
    if header.get("Modality") in _MOVING or any(header.get(name) for name in _TIMES):
        return take_frames(_Cine(item.frames, reopen), bounds, sampling)
    return Frames(_slices(reopen, sampling), item.frames)


@dataclass(slots=True)
class _Shot:
    """One frame of a cine, decoded when it is looked at."""

    item: DicomObject
    index: int
    is_bad: bool = False

    def small(self) -> NDArray[np.uint8]:
        return _small(self.item.display(self.index))

    def full(self) -> RawImage:
        return self.item.image(self.index)


class _Cine:
    """A cine whose frames are decoded one by one; those that nobody looks at cost nothing."""

    def __init__(self, frames: int, reopen: Opener) -> None:
        self.claimed, self.missing, self._reopen = frames, 0, reopen

    def play(self) -> Iterator[_Shot]:
        """Every frame in order."""
        with self._reopen() as item:
            for index in range(item.frames):
                yield _Shot(item, index)


def _small(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(shown).convert("L").resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
    return np.asarray(image)


def _slices(reopen: Opener, sampling: Sampling) -> Iterator[RawImage | RejectedFrame]:
    """Slices evenly spaced along their positions; without positions, in the order of the file and without margins."""
    with reopen() as item:
        places = [position_of(item.frame_header(index)) for index in range(item.frames)]
        if all(place is not None for place in places) and item.header.get("Modality") != "OPT":
            order = sorted(range(item.frames), key=lambda index: (places[index], index))
            chosen = [order[place] for place in choose_slices(item.frames, sampling)]
        else:
            chosen = spread(item.frames, sampling.max_frames)
        for index in chosen:
            yield item.image(index)
        yield from left_out(item.frames - len(chosen), "not_sampled", "slices the sampling leaves out")


def _tiles(item: DicomObject, reopen: Opener, sampling: Sampling) -> Frames:
    """Tiles of a slide with enough tissue, in a fixed order over the whole slide."""
    spacing = spacing_of(item.frame_header(0))
    if spacing is not None and 1000.0 * min(spacing) > 2.0 * sampling.tile_um:
        detail = f"a level of {1000 * min(spacing):.2f} um per pixel, and {sampling.tile_um} are asked for"
        raise RejectedInput("other_level", detail, bin="excluded")
    side = min(int(item.header.Rows), int(item.header.Columns))
    if side < LEAST_TILE_PX:
        detail = f"tiles of {side} pixels, less than {LEAST_TILE_PX}"
        return Frames(left_out(item.frames, "small_tile", detail), item.frames)
    return Frames(_tissue(reopen, sampling), item.frames)


def _tissue(reopen: Opener, sampling: Sampling) -> Iterator[RawImage | RejectedFrame]:
    kept = looked = 0
    with reopen() as item:
        order = permute(np.arange(item.frames), item.frames, key("dicom tiles", item.frames))
        for index in order[: LOOKS_PER_TILE * sampling.max_tiles].tolist():
            if kept == sampling.max_tiles:
                break
            looked += 1
            if _tissue_share(item.display(index)) >= sampling.least_tissue:
                kept += 1
                yield item.image(index)
        yield from left_out(looked - kept, "blank_tile", "tiles with too little tissue")
        yield from left_out(item.frames - looked, "not_sampled", "tiles the sampling leaves out")


def _tissue_share(pixels: NDArray[np.uint8]) -> float:
    """The share of stained pixels; of a grey tile (fluorescence), that of pixels that are not dark."""
    if pixels.ndim == 2:
        return float((pixels >= LEAST_CHROMA).mean())
    return float((pixels.max(axis=2) - pixels.min(axis=2) >= LEAST_CHROMA).mean())
