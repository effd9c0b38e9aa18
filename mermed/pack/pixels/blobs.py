"""Blobs: the connected parts of a small yes-no map, with their areas and bounds."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Blob:
    """One connected part: its area in cells, and the half-open bounds of its rows and columns."""

    area: int
    top: int
    left: int
    bottom: int
    right: int

    @property
    def box_area(self) -> int:
        """The area of the bounds."""
        return (self.bottom - self.top) * (self.right - self.left)

    def join(self, other: Self) -> Self:
        """Both parts as one."""
        return type(self)(
            self.area + other.area,
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def find_blobs(mask: Mask) -> list[Blob]:
    """The parts of `mask` that touch by a side or a corner, the largest first.

    Works on runs of a row, so its time grows with the outline of what is there and not with its area.
    """
    runs = _runs(mask)
    if _is_one_disc(*runs):
        return [_whole(*runs)]
    rows, starts, ends = (edge.tolist() for edge in runs)
    parents = _join_runs(rows, starts, ends)
    blobs: dict[int, list[int]] = {}
    for run, row in enumerate(rows):
        start, end = starts[run], ends[run]
        blob = blobs.setdefault(_root(parents, run), [0, row, start, row, end])
        blob[0] += end - start
        blob[2] = min(blob[2], start)
        blob[3] = row + 1
        blob[4] = max(blob[4], end)
    return sorted((Blob(*blob) for blob in blobs.values()), key=lambda blob: (-blob.area, blob.top, blob.left))


def _join_runs(rows: list[int], starts: list[int], ends: list[int]) -> list[int]:
    """A forest of the runs: each one's parent, the same root for runs that touch."""
    parents = list(range(len(rows)))
    other = 0  # the first run of the row above that may still touch
    for run, row in enumerate(rows):
        while rows[other] < row - 1 or (rows[other] == row - 1 and ends[other] < starts[run]):
            other += 1
        touching = other
        while rows[touching] == row - 1 and starts[touching] <= ends[run]:
            parents[_root(parents, touching)] = _root(parents, run)
            touching += 1
    return parents


def _runs(mask: Mask) -> tuple[Numbers, Numbers, Numbers]:
    """Row, first column and end of every run of true cells, in reading order."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.bool_)
    padded[:, 1:-1] = mask
    rows, edges = np.nonzero(padded[:, 1:] != padded[:, :-1])
    return rows[::2], edges[::2], edges[1::2]


def _is_one_disc(rows: Numbers, starts: Numbers, ends: Numbers) -> bool:
    """True for one run in each row that touches the one above: a disc or a frame, by far the most common part."""
    return bool(
        len(rows)
        and (rows[1:] - rows[:-1] == 1).all()
        and (starts[1:] <= ends[:-1]).all()
        and (starts[:-1] <= ends[1:]).all()
    )


def _whole(rows: Numbers, starts: Numbers, ends: Numbers) -> Blob:
    area = int((ends - starts).sum())
    return Blob(area, int(rows[0]), int(starts.min()), int(rows[-1]) + 1, int(ends.max()))


def _root(parents: list[int], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


def grow(mask: Mask) -> Mask:
    """The cells of `mask` and their eight neighbours."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    grown = wide.copy()
    grown[1:] |= wide[:-1]
    grown[:-1] |= wide[1:]
    return grown


def shrink(mask: Mask) -> Mask:
    """The cells of `mask` whose eight neighbours (those inside the map) are in it too."""
    return ~grow(~mask)
