"""Animation: the frames of a moving GIF, PNG or WebP, through Pillow."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.pack.readers.choosing import SMALL_SIDE
from mermed.pack.readers.moving import take_frames
from mermed.pack.readers.pages import open_pages, reasons, turn_to
from mermed.pack.readers.raster import to_raw
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage
from mermed.pack.treatment import Treatment


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one moving picture; see `mermed.pack.readers.reading`."""
    return take_frames(_Animation(file, bounds), bounds, treatment.sampling)


@dataclass(slots=True)
class _Shot:
    raw: RawImage
    is_bad: bool = False

    def small(self) -> NDArray[np.uint8]:
        picture = Image.fromarray(self.raw.pixels).convert("L")
        return np.asarray(picture.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX))

    def full(self) -> RawImage:
        return self.raw


class _Animation:
    """A moving picture that is decoded from its start every time it is played."""

    def __init__(self, file: RawFile, bounds: Bounds) -> None:
        self.file, self.bounds = file, bounds
        self.claimed = self.missing = 0

    def play(self) -> Iterator[_Shot]:
        """Every frame in order, as shown: laid over those before it. Raises RejectedInput where the file breaks."""
        with open_pages(self.file, self.bounds) as image:
            # The frames of a GIF are only known by reading it to its end; the others state their number.
            self.claimed = 0 if image.format == "GIF" else int(getattr(image, "n_frames", 0))
            number = 0
            while turn_to(image, number, self.bounds):
                with reasons():
                    yield _Shot(to_raw(image.copy()))
                number += 1
            self.missing = max(0, self.claimed - number)
