"""Raw: one input file, the frames a reader makes of it, and the bounds every reader keeps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.errors import SampleError
from mermed.pack.pixels.window import Curve

Scale = Literal["display", "hounsfield", "stored"]
Bin = Literal["quarantined", "excluded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a reader may spend on one file: pixels it decodes, bytes it opens.

    A reader may decode a JPEG at 1/2, 1/4 or 1/8 scale as long as its short side stays at least `least_side_px`.
    """

    max_pixels: int = 2**28
    max_bytes: int = 2**30
    max_frames: int = 2**20
    least_side_px: int = 1024


@dataclass(frozen=True, slots=True)
class RawFile:
    """One input: the file at `path`, or the member of that name inside the archive at `path` ("" for the file itself).

    A member of a ZIP or an uncompressed TAR is read in place, never extracted. The arrays of an NPZ are its members
    `<name>.npy`; the arrays of an HDF5 file are members by their path inside it.
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The innermost file name, for suffixes."""
        return (self.member or self.path.name).rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawImage:
    """One image in the units of its source, upright, before any window, inversion or resizing.

    `pixels` is (height, width) of any real dtype, or (height, width, 3) uint8 RGB. `scale` says what grey values mean:
    "display" is 8-bit as a screen shows it (RGB always is), "hounsfield" is CT in HU, "stored" has no known unit.
    `voi` is the window or table its header asks for, `is_inverted` is MONOCHROME1 (white is low; to be applied after
    the window), `padding` marks pixels that lie outside the scanned field, `spacing_mm` is (row, column). `frame` is
    the frame, slice or tile of its container, from 0. `region` is the part (top, left, height, width) that the file
    itself declares to be the image proper, such as the scan region of an ultrasound screen. `source_shape` is the size
    (height, width) of the file where the reader decoded it reduced; `notes` names what the reader did, in order.
    `picture` is the same image as Pillow holds it, "L" or "RGB", where it comes from there.
    """

    pixels: NDArray[Any]
    scale: Scale
    source_bits: int
    voi: Curve | None = None
    is_inverted: bool = False
    padding: NDArray[np.bool_] | None = None
    spacing_mm: tuple[float, float] | None = None
    frame: int | None = None
    region: tuple[int, int, int, int] | None = None
    source_shape: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    picture: Image.Image | None = None

    @classmethod
    def of_picture(cls, picture: Image.Image, **facts: Any) -> Self:
        """An 8-bit image for display. Its array is made when somebody asks for it, because that takes its time."""
        raw = cls(pixels=np.empty(0), scale="display", picture=picture, **facts)
        object.__delattr__(raw, "pixels")
        return raw

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is not there, which is the array of a picture that nobody asked for yet.
        if name != "pixels" or self.picture is None:
            raise AttributeError(name)
        object.__setattr__(self, "pixels", np.asarray(self.picture))
        return self.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedFrame:
    """`count` frames of a container that are not packed, all for one reason; `frame` is the number of the first."""

    reason: str
    detail: str = ""
    bin: Bin = "excluded"
    count: int = 1
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Frames:
    """What a reader makes of one file, lazily. `items` accounts for every frame exactly once, kept or rejected.

    `total` is the number of frames the file claims, None where only reading to the end can tell. An error behind the
    first frame ends the frames before it well: a reader yields a RejectedFrame for the rest.
    """

    items: Iterable["RawImage | RejectedFrame"]
    total: int | None = None

    @classmethod
    def single(cls, image: "RawImage") -> Self:
        """The frames of a file that is one image."""
        return cls((image,), 1)

    def __iter__(self) -> Iterator["RawImage | RejectedFrame"]:
        return iter(self.items)


class RejectedInput(SampleError):
    """One input that is not packed: `reason` is a slug for the tables, `detail` one line without identifiers.

    `bin` tells bad input ("quarantined", counts against --max-bad) from input left out by a rule ("excluded").
    """

    def __init__(self, reason: str, detail: str = "", *, bin: Bin = "quarantined") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason_slug = reason
        self.detail = detail
        self.bin: Bin = bin


def check_size(width: int, height: int, bounds: Bounds, *, frames: int = 1) -> None:
    """Refuse an image by the size its header claims, before anything is decoded; raises RejectedInput."""
    if width < 1 or height < 1:
        raise RejectedInput("no_pixels", f"the header claims {width} x {height} pixels")
    if width * height * max(frames, 1) > bounds.max_pixels:
        raise RejectedInput("pixel_limit", f"the header claims {width} x {height} x {frames} pixels")
