"""Copies: pairs of samples that show one image: equal pixels, near copies, mirrored and cropped ones."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mermed.pack.checks.holdings import INNER_SHARES, Holdings
from mermed.pack.checks.near import NearPairs, Rows, mirrored_pairs, near_pairs
from mermed.pack.pixels.perceptual import distance_of

Kind = Literal["exact", "near", "mirrored", "cropped", "group"]
KINDS: tuple[Kind, ...] = ("exact", "near", "mirrored", "cropped", "group")
_COLUMNS = ("kind", "distance", "modality", "relation", "key", "collection", "dataset", "split", "label")
_SIDE = _COLUMNS[4:]


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Pairs of rows of some Holdings: what kind each is (number in KINDS), and the bits its hashes differ in.

    `crowded` counts, per modality, the samples in crowds of near-equal hashes, for which pairs are examples, not all.
    """

    holdings: Holdings
    first: Rows
    second: Rows
    kind: NDArray[np.int8]
    distance: NDArray[np.uint8]
    crowded: dict[str, int]

    def __len__(self) -> int:
        return len(self.first)

    def select(self, wanted: NDArray[np.bool_]) -> "Copies":
        """Some of the pairs."""
        return Copies(
            self.holdings,
            self.first[wanted],
            self.second[wanted],
            self.kind[wanted],
            self.distance[wanted],
            self.crowded,
        )

    def differ_in(self, column: str) -> NDArray[np.bool_]:
        """True for pairs whose two samples differ in a column; an unlabelled sample differs from no label."""
        values = getattr(self.holdings, column)
        one, other = values[self.first], values[self.second]
        differs = one != other
        return differs & (one != 0) & (other != 0) if column == "label" else differs

    def to_csv(self) -> str:
        """One line a pair, under a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*_COLUMNS, *(f"other_{name}" for name in _SIDE)))
        writer.writerows(self._lines())
        return text.getvalue()

    def _lines(self) -> Iterator[tuple[object, ...]]:
        relations = [(self.differ_in(name), f"other {name}") for name in ("group", "split", "label")]
        for place, (one, other) in enumerate(zip(self.first.tolist(), self.second.tolist(), strict=True)):
            relation = ", ".join(text for differs, text in relations if differs[place]) or "same group"
            modality = self.holdings.words[self.holdings.modality[one]]
            start = (KINDS[self.kind[place]], int(self.distance[place]), modality, relation)
            yield (*start, *self._side(one), *self._side(other))

    def _side(self, row: int) -> tuple[str, ...]:
        held = self.holdings
        names = (held.words[getattr(held, name)[row]] for name in ("dataset", "split", "label"))
        return held.keys[row].decode(), held.collections[held.collection[row]], *names


def find_copies(
    holdings: Holdings, *, distance: int | None = None, mirrored: bool = False, cropped: bool = False
) -> Copies:
    """All pairs of samples of one modality that show one image, with the usual distance of the modality or `distance`.

    Mirrored copies are those mirrored left to right; cropped ones need Holdings with inner hashes and are central crops
    near INNER_SHARES. Raises ValueError for a distance that is not 0 to 63.
    """
    pieces: list[tuple[Rows, Rows, NDArray[np.int8], NDArray[np.uint8]]] = []
    crowded: dict[str, int] = {}
    for modality, rows in holdings.rows_by_modality():
        within = distance_of(modality) if distance is None else distance
        found = near_pairs(holdings.hashes[rows], within)
        crowded[modality] = found.crowded
        one, other = rows[found.first], rows[found.second]
        is_exact = (holdings.pixels[one] == holdings.pixels[other]).all(1)
        pieces.append((one, other, np.where(is_exact, 0, 1).astype(np.int8), found.distance))
        if mirrored:
            pieces.append(_piece(rows, mirrored_pairs(holdings.hashes[rows], within), "mirrored"))
        if cropped:
            pieces.append(_piece(rows, _cropped_pairs(holdings, rows, within), "cropped"))
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)] if pieces else [np.empty(0, int)] * 4
    return Copies(holdings, *_once(*columns), crowded)


def _piece(rows: Rows, found: NearPairs, kind: Kind) -> tuple[Rows, Rows, NDArray[np.int8], NDArray[np.uint8]]:
    kinds = np.full(len(found), KINDS.index(kind), np.int8)
    return rows[found.first], rows[found.second], kinds, found.distance


def _cropped_pairs(holdings: Holdings, rows: Rows, distance: int) -> NearPairs:
    """Pairs of which one is near a central part of the other."""
    count, parts = len(rows), len(INNER_SHARES)
    inner = holdings.inner[rows].reshape(-1, 4)
    found = near_pairs(np.concatenate([holdings.hashes[rows], inner]), distance)
    wanted = (found.first < count) & (found.second >= count)
    one, other, bits = found.first[wanted], (found.second[wanted] - count) // parts, found.distance[wanted]
    is_pair = one != other
    first, second = np.minimum(one, other)[is_pair], np.maximum(one, other)[is_pair]
    return NearPairs(first, second, bits[is_pair], found.crowded)


def _once(
    first: Rows, second: Rows, kind: NDArray[np.int8], bits: NDArray[np.uint8]
) -> tuple[Rows, Rows, NDArray[np.int8], NDArray[np.uint8]]:
    """Each pair once, with the first of its kinds; sorted by kind, then by the bits that differ."""
    order = np.lexsort((bits, kind, second, first))
    first, second, kind, bits = first[order], second[order], kind[order], bits[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    first, second, kind, bits = first[is_new], second[is_new], kind[is_new], bits[is_new]
    order = np.lexsort((second, first, bits, kind))
    return first[order], second[order], kind[order], bits[order]
