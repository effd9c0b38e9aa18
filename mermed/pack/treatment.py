"""Treatment: what a recipe may say about the pixels of its files, where the files themselves do not say it."""

import math
from dataclasses import dataclass, field
from typing import Literal

from mermed.errors import ConfigError
from mermed.pack.pixels.window import window_in_hu

Crop = Literal["auto", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of a container (volume, cine, video, slide, stack) become samples."""

    max_frames: int = 32
    """Most frames kept of one volume, cine, video or stack; evenly spaced when there are more."""
    margin: float = 0.1
    """Share of the slices left out at both ends of a volume along its slice axis, where there is little to see."""
    least_content: float = 0.05
    """Least share of a slice that must differ from its background; emptier slices are excluded."""
    least_change: float = 2.0
    """Least mean change (grey levels of 255, on a 32 x 32 reduction) of a video frame against the last one kept."""
    tile_px: int = 512
    """Side of a slide's tiles, in pixels of the tile's resolution."""
    tile_um: float = 0.5
    """Microns per pixel at which a slide is tiled; never below the slide's own resolution."""
    least_tissue: float = 0.5
    """Least share of tissue in a tile."""
    max_tiles: int = 256
    """Most tiles of one slide, drawn evenly over its tissue in a fixed order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How one file's pixels are to be understood; the defaults trust the file.

    Raises ConfigError for a window, a number of bits or an offset that makes no sense.
    """

    window: str | None = None
    """A window by name, or as "centre/width" in HU, instead of the collection's; it acts on images in HU only."""
    offset_hu: float | None = None
    """16-bit rasters that store HU: HU = value + offset_hu (DeepLesion: -32768). None: no known unit."""
    bits: int | None = None
    """Bits that are really used in a 16-bit raster, such as 12, or by colour in an array of wider numbers (8: PanNuke).
    None: percentiles decide, and such arrays are refused."""
    is_inverted: bool = False
    """White is low in files that do not say so themselves."""
    crop: Crop = "auto"
    """"auto": black borders (cfp, derm) and the scan sector (us) are cropped; "none": the image is kept whole."""
    fix_sign: bool = False
    """CT files whose PixelRepresentation or intercept is known to be wrong (RSNA ICH): values are wrapped back."""
    allow_burned_in: bool = False
    """Accept DICOM files whose header says that text is burned into the pixels."""
    allow_bare_dicom: bool = True
    """Accept DICOM files without the 128-byte preamble."""
    dicom_modalities: tuple[str, ...] = ()
    """Values of Modality that DICOM files are packed with, such as CT; others are excluded. (): all of them."""
    assume_um: float | None = None
    """Microns per pixel of slides that do not say it; None: such slides are quarantined as no_mpp."""
    sampling: Sampling = field(default_factory=Sampling)
    """Which frames of a container are kept."""

    def __post_init__(self) -> None:
        if self.window is not None:
            window_in_hu(self.window)
        if self.bits is not None and not 1 <= self.bits <= 16:
            raise ConfigError("a raster cannot use this many bits", expected="1 to 16", found=self.bits)
        if self.offset_hu is not None and not math.isfinite(self.offset_hu):
            raise ConfigError("an offset of HU is no number", found=self.offset_hu)
