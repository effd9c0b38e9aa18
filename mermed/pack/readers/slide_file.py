"""Slide file: regions of a whole slide at any of its levels, past levels that are damaged. Needs the extra 'wsi'."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mermed.errors import missing_extra
from mermed.pack.readers.raw import RejectedInput

try:
    from openslide import OpenSlide, OpenSlideError, OpenSlideUnsupportedFormatError
except (ImportError, OSError):
    raise missing_extra("wsi", "reading whole slides") from None

UM_LIMITS = (0.05, 10.0)
"""Microns per pixel outside these are a resolution for printing, not one of a microscope."""
_SLACK = 1.02
"""A level may be coarser than asked by this factor: scanners round their levels."""


class SlideFile:
    """One open slide. `size` is (width, height) of its finest level, `um` its (x, y) microns per pixel there.

    Only the pyramid is ever read; the label and the overview of the glass, which show names, are not.
    """

    def __init__(self, path: Path, assumed_um: float | None) -> None:
        self.path = path
        self._slide = _open(path)
        self.size: tuple[int, int] = self._slide.dimensions
        self.um = self._um(assumed_um)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._slide.close()

    def _um(self, assumed: float | None) -> tuple[float, float]:
        texts = [self._slide.properties.get(f"openslide.mpp-{axis}", "") for axis in "xy"]
        try:
            x, y = (float(text) for text in texts)
        except ValueError:
            x = y = 0.0
        if all(UM_LIMITS[0] <= um <= UM_LIMITS[1] for um in (x, y)):
            return x, y
        if assumed is None:
            raise RejectedInput("no_mpp", "the slide does not say its microns per pixel; the recipe may assume_um")
        return assumed, assumed

    def level_for(self, factor: float) -> int:
        """The coarsest level that is not coarser than `factor` times the finest."""
        factors = self._slide.level_downsamples
        return max(level for level in range(len(factors)) if level == 0 or factors[level] <= factor * _SLACK)

    def level_pixels(self, level: int) -> int:
        """Pixels of a whole level."""
        width, height = self._slide.level_dimensions[level]
        return width * height

    def region(
        self, level: int, corner: tuple[int, int], size: tuple[int, int], shown: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], bool]:
        """RGB of the region at `corner` of `size`, both in pixels of the finest level, reduced to `shown`; glass where
        nothing was scanned. All are (x, y). True beside it when `level` is damaged there and a finer one had to do.

        Raises RejectedInput when no finer level can be read either.
        """
        for finer in range(level, -1, -1):
            factor = self._slide.level_downsamples[finer]
            held = max(1, round(size[0] / factor)), max(1, round(size[1] / factor))
            try:
                picture = self._slide.read_region(corner, finer, held)
            except OpenSlideError:
                # An error stays with an open slide for good.
                self._slide.close()
                self._slide = _open(self.path)
                continue
            return _on_glass(picture, shown), finer != level
        raise RejectedInput("corrupt", "no level of the slide can be read here")


def _open(path: Path) -> OpenSlide:
    if path.suffix.lower() == ".mrxs" and not (path.with_suffix("") / "Slidedat.ini").is_file():
        raise RejectedInput("no_sidecar", "a MRXS file is nothing without the folder of its name beside it")
    try:
        return OpenSlide(path)
    except OpenSlideUnsupportedFormatError:
        raise RejectedInput("not_an_image", "no known format of whole slides") from None
    except (OpenSlideError, OSError) as error:
        raise RejectedInput("corrupt", f"the slide cannot be opened ({type(error).__name__})") from None


def _on_glass(picture: Image.Image, shown: tuple[int, int]) -> NDArray[np.uint8]:
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    canvas.alpha_composite(picture)
    flat = canvas.convert("RGB")
    return np.asarray(flat if flat.size == shown else flat.resize(shown, Image.Resampling.BOX))
