"""Slide: tiles of a whole slide at a stated resolution, drawn evenly over its tissue."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mermed.keyed import key, permute
from mermed.pack.readers.choosing import left_out
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedFrame, RejectedInput, check_size
from mermed.pack.readers.slide_file import SlideFile
from mermed.pack.readers.tissue import find_pen, find_tissue
from mermed.pack.treatment import Sampling, Treatment

CELLS = 16
"""Cells along the side of a tile that tissue and ink are looked for in."""
MOST_PEN = 0.05
"""A tile with ink on more than this share of its cells is left out."""
_CHUNK_PIXELS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Tiles of `side` (x, y) pixels of the finest level, from the top left; what is left at the other ends is no tile.

    `shown` is the (x, y) size of a tile in pixels of `um` microns.
    """

    columns: int
    rows: int
    side: tuple[float, float]
    shown: tuple[int, int]
    um: float

    @property
    def tiles(self) -> int:
        """All tiles; tile k lies in row k // columns."""
        return self.columns * self.rows

    def corner(self, tile: int) -> tuple[int, int]:
        """(x, y) of a tile's first pixel at the finest level."""
        row, column = divmod(tile, self.columns)
        return round(column * self.side[0]), round(row * self.side[1])


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The tiles of one slide; see `readers.reading`. A frame is a tile, numbered row by row over the whole grid."""
    if file.member:
        raise RejectedInput("needs_file", "a slide cannot be read inside an archive; unpack it")
    with SlideFile(file.path, treatment.assume_um) as slide:
        grid = lay_grid(slide.size, slide.um, treatment.sampling)
        check_size(*grid.shown, bounds)
        if grid.tiles > bounds.max_frames:
            raise RejectedInput("limits", f"{grid.tiles} tiles, more than {bounds.max_frames}")
        reduced = _reduce(slide, grid, bounds)
    return Frames(_items(file, grid, reduced, treatment), grid.tiles)


def lay_grid(size: tuple[int, int], um: tuple[float, float], sampling: Sampling) -> Grid:
    """The tiles of a slide of `size` (x, y) pixels of `um` (x, y) microns; one smaller tile where none would fit."""
    shown_um = max(sampling.tile_um, *um)
    whole = [sampling.tile_px * shown_um / axis_um for axis_um in um]
    side = min(whole[0], float(size[0])), min(whole[1], float(size[1]))
    return Grid(
        columns=max(1, int(size[0] / side[0] + 1e-9)),
        rows=max(1, int(size[1] / side[1] + 1e-9)),
        side=side,
        shown=(max(1, round(side[0] * um[0] / shown_um)), max(1, round(side[1] * um[1] / shown_um))),
        um=shown_um,
    )


def _reduce(slide: SlideFile, grid: Grid, bounds: Bounds) -> NDArray[np.uint8]:
    """The slide with CELLS pixels along the side of a tile, put together from pieces of bounded size."""
    level = slide.level_for(min(grid.side) / CELLS)
    if slide.level_pixels(level) > bounds.max_pixels:
        raise RejectedInput("pixel_limit", f"its coarsest useful level has {slide.level_pixels(level)} pixels")
    reduced = np.empty((grid.rows * CELLS, grid.columns * CELLS, 3), np.uint8)
    share = slide.level_pixels(level) / (slide.size[0] * slide.size[1])
    step = max(1, int(_CHUNK_PIXELS / max(1.0, grid.side[0] * grid.side[1] * share)))
    for row in range(grid.rows):
        for first in range(0, grid.columns, step):
            last = min(first + step, grid.columns)
            size = round((last - first) * grid.side[0]), round(grid.side[1])
            corner = grid.corner(row * grid.columns + first)
            cells, _ = slide.region(level, corner, size, ((last - first) * CELLS, CELLS))
            reduced[row * CELLS : (row + 1) * CELLS, first * CELLS : last * CELLS] = cells
    return reduced


def _share(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """The share of every tile's cells that a mask marks, in the order of tiles."""
    return mask.reshape(grid.rows, CELLS, grid.columns, CELLS).mean(axis=(1, 3)).ravel()


def _items(
    file: RawFile, grid: Grid, reduced: NDArray[np.uint8], treatment: Treatment
) -> Iterator[RawImage | RejectedFrame]:
    sampling = treatment.sampling
    has_pen = _share(find_pen(reduced), grid) > MOST_PEN
    is_blank = ~has_pen & (_share(find_tissue(reduced), grid) < sampling.least_tissue)
    useful = np.flatnonzero(~has_pen & ~is_blank)
    # The same tiles every time, and with a larger max_tiles these and more.
    order = np.argsort(permute(np.arange(len(useful)), len(useful), key("slide tiles")))
    chosen = np.sort(useful[order[: sampling.max_tiles]])
    with SlideFile(file.path, treatment.assume_um) as slide:
        level = slide.level_for(min(grid.um / um for um in slide.um))
        for tile in chosen:
            yield _tile(slide, grid, level, int(tile))
    yield from left_out(int(is_blank.sum()), "blank_tile", "tiles with too little tissue")
    yield from left_out(int(has_pen.sum()), "pen_tile", "tiles with the ink of a pen")
    yield from left_out(len(useful) - len(chosen), "not_sampled", "tiles the sampling leaves out")


def _tile(slide: SlideFile, grid: Grid, level: int, tile: int) -> RawImage | RejectedFrame:
    size = round(grid.side[0]), round(grid.side[1])
    try:
        pixels, is_finer = slide.region(level, grid.corner(tile), size, grid.shown)
    except RejectedInput as error:
        return RejectedFrame(reason=error.reason_slug, detail=error.detail, bin=error.bin, frame=tile)
    return RawImage(
        pixels=pixels,
        scale="display",
        source_bits=8,
        spacing_mm=(grid.um / 1000.0, grid.um / 1000.0),
        frame=tile,
        notes=("finer_level",) if is_finer else (),
    )
