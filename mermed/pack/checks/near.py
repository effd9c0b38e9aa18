"""Near: all pairs of 256-bit hashes that differ in few bits, without looking at all pairs.

The bits are cut into bands. Two hashes that differ in at most `distance` bits agree in all bits of some band, or in all
but one (pigeonhole), so sorting by each band, or by each band without one of its bits, brings every such pair together.
No pair within the distance is missed, except inside crowds: see `NearPairs`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mermed.pack.pixels.perceptual import HASH_BITS, HASH_BYTES, MIRROR_MASK

CROWD = 128
"""Rows of one sorted key that each row is compared with; a longer run of equal keys is a crowd."""
_WORDS = HASH_BYTES // 8
_LEAST_BANDS = 5
"""So that a band fits into one word."""
_CHUNK_PAIRS = 2**20
_CHUNK_ROWS = 2**16
_STRIDE = 159
"""Odd, and near 256 over the golden ratio: any few neighbours in the order lie far apart in length."""
_KEPT_PAIRS = 2**23
# What one row costs to sort against what one candidate costs to compare; only the choice of a plan depends on it.
_SORT_COST = 8.0
_ENTROPY = 0.75
"""How much less a bit of real images tells apart than a random one."""
Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NearPairs:
    """Pairs of row numbers, first < second, sorted, and the bits each pair differs in.

    `crowded` counts rows in crowds: runs of more than CROWD rows that share a band, such as thousands of black or
    neighbouring slices. There each row was compared with the CROWD rows after it in the order of their hashes only, so
    the pairs of crowded rows are examples, not all. Equal hashes lie next to each other in that order.
    """

    first: Rows
    second: Rows
    distance: NDArray[np.uint8]
    crowded: int

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Bands, and how many bits may differ inside the one that agrees: 0 or 1."""

    bands: int
    slack: int

    def keys(self) -> Iterator[tuple[int, int, int | None]]:
        """(first bit, number of bits, bit left out) of every key to sort by."""
        edges = [HASH_BITS * band // self.bands for band in range(self.bands + 1)]
        for start, stop in pairwise(edges):
            for left_out in range(stop - start) if self.slack else (None,):
                yield start, stop - start, left_out


def as_words(hashes: bytes) -> Hashes:
    """Hashes one after another, 32 bytes each, as [N 4] words whose first bit is the highest of the first word."""
    return np.frombuffer(hashes, ">u8").astype(np.uint64).reshape(-1, _WORDS)


def near_pairs(hashes: Hashes, distance: int) -> NearPairs:
    """All pairs of rows of `hashes` [N 4] that differ in at most `distance` bits (0 to 63).

    Memory: about 250 bytes a row, and 50 bytes for each pair found. Raises ValueError for a distance out of range.
    """
    if not 0 <= distance < 64:
        raise ValueError(f"the distance must be 0 to 63 bits, not {distance}")
    # In the order of the hashes, rows of a crowd that are alike lie close together.
    spread = _spread(hashes)
    order = np.lexsort(spread.T[::-1])
    ranked = np.ascontiguousarray(spread[order].T)  # 4 N
    found, is_crowded = _Found(), np.zeros(len(hashes), bool)
    for key in _choose_plan(len(hashes), distance).keys():
        rows = _sorted_rows(ranked, *key)
        for one, other in _neighbours(*rows, is_crowded):
            found.add(*_within(ranked, one, other, distance))
    one, other = found.all()
    bits = _distances(ranked, one, other)
    first, second = np.minimum(order[one], order[other]), np.maximum(order[one], order[other])
    by_row = np.lexsort((second, first))
    return NearPairs(first[by_row], second[by_row], bits[by_row], int(is_crowded.sum()))


def _spread(hashes: Hashes) -> Hashes:
    """The same hashes with their bits in an order that gives every band waves of all lengths.

    Long waves are alike in many images of a modality: a band of them alone would tell little apart.
    """
    by_length = np.argsort(np.add.outer(np.arange(16), np.arange(16)).ravel(), kind="stable")
    order = by_length[np.arange(HASH_BITS) * _STRIDE % HASH_BITS]
    spread = np.empty_like(hashes)
    for start in range(0, len(hashes), _CHUNK_ROWS):
        rows = np.ascontiguousarray(hashes[start : start + _CHUNK_ROWS]).astype(">u8").view(np.uint8)
        packed = np.packbits(np.unpackbits(rows, axis=1)[:, order], axis=1)
        spread[start : start + _CHUNK_ROWS] = as_words(packed.tobytes())
    return spread


def _choose_plan(num_rows: int, distance: int) -> _Plan:
    """The cheaper of bands that agree whole and bands that agree but for one bit."""

    def cost(plan: _Plan) -> float:
        width = _ENTROPY * (HASH_BITS // plan.bands - plan.slack)
        candidates = num_rows / 2.0 * num_rows / 2.0**width
        return sum(1 for _ in plan.keys()) * (num_rows * _SORT_COST + candidates)

    exact, but_one = _Plan(max(distance + 1, _LEAST_BANDS), 0), _Plan(max(distance // 2 + 1, _LEAST_BANDS), 1)
    return min((exact, but_one), key=cost)


def _sorted_rows(ranked: Hashes, start: int, count: int, left_out: int | None) -> tuple[Hashes, Rows]:
    """Keys in rising order, and the rank of the row each belongs to; equal keys keep the order of ranks."""
    key = _bits(ranked, start, count)
    if left_out is not None:
        low = np.uint64((1 << left_out) - 1)
        key = (key >> np.uint64(left_out + 1) << np.uint64(left_out)) | (key & low)
    if key.size and int(key.max()) < 2**32:
        # Key and rank in one word: sorting plain words is several times faster than sorting by a key.
        packed = key << np.uint64(32) | np.arange(len(key), dtype=np.uint64)
        packed.sort()
        return packed >> np.uint64(32), (packed & np.uint64(2**32 - 1)).astype(np.int64)
    order = np.argsort(key, kind="stable")
    return key[order], order


def _bits(ranked: Hashes, start: int, count: int) -> Hashes:
    """Bits [start, start + count) of every hash as a number."""
    word, offset = divmod(start, 64)
    top = ranked[word] << np.uint64(offset)
    if offset and word + 1 < _WORDS:
        top = top | ranked[word + 1] >> np.uint64(64 - offset)
    return top >> np.uint64(64 - count)


def _neighbours(keys: Hashes, ranks: Rows, is_crowded: NDArray[np.bool_]) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of ranks with equal keys, in pieces; marks the rows of runs that are too long to be paired in full."""
    active = np.flatnonzero(keys[1:] == keys[:-1])
    for step in range(1, CROWD + 1):
        for begin in range(0, len(active), _CHUNK_PAIRS):
            piece = active[begin : begin + _CHUNK_PAIRS]
            yield ranks[piece], ranks[piece + step]
        active = active[active + step + 1 < len(keys)]
        active = active[keys[active] == keys[active + step + 1]]
        if not active.size:
            return
    is_crowded[ranks[active]] = True
    is_crowded[ranks[active + CROWD + 1]] = True


def mirrored_pairs(hashes: Hashes, distance: int) -> NearPairs:
    """All pairs of different rows of which one, mirrored, differs from the other in at most `distance` bits."""
    count = len(hashes)
    both = near_pairs(np.concatenate([hashes, hashes ^ as_words(MIRROR_MASK)]), distance)
    wanted = (both.first < count) & (both.second >= count)
    one, other, bits = both.first[wanted], both.second[wanted] - count, both.distance[wanted]
    # Mirroring one row or the other is the same, so every pair has come twice.
    is_once = one < other
    return NearPairs(one[is_once], other[is_once], bits[is_once], both.crowded // 2)


def _within(ranked: Hashes, one: Rows, other: Rows, distance: int) -> tuple[Rows, Rows]:
    """Those of the pairs that differ in at most `distance` bits; word by word, as the first settles nearly all."""
    bits = np.zeros(len(one), np.uint8)
    for word in ranked:
        bits = bits + np.bitwise_count(word[one] ^ word[other])
        keep = bits <= distance
        one, other, bits = one[keep], other[keep], bits[keep]
    return np.minimum(one, other), np.maximum(one, other)


def _distances(ranked: Hashes, one: Rows, other: Rows) -> NDArray[np.uint8]:
    return sum((np.bitwise_count(word[one] ^ word[other]) for word in ranked), np.zeros(len(one), np.uint8))


class _Found:
    """Pairs found so far. Most are found under several keys, so they are thinned out whenever there are many."""

    def __init__(self) -> None:
        self._pieces: list[Hashes] = [np.empty(0, np.uint64)]
        self._size = 0
        self._limit = _KEPT_PAIRS

    def add(self, one: Rows, other: Rows) -> None:
        """Take in some pairs of ranks, one < other."""
        self._pieces.append(one.astype(np.uint64) << np.uint64(32) | other.astype(np.uint64))
        self._size += len(one)
        if self._size > self._limit:
            self._thin_out()
            self._limit = max(_KEPT_PAIRS, 2 * self._size)

    def _thin_out(self) -> None:
        self._pieces = [np.unique(np.concatenate(self._pieces))]
        self._size = len(self._pieces[0])

    def all(self) -> tuple[Rows, Rows]:
        """Every pair once."""
        self._thin_out()
        pairs = self._pieces[0]
        return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(2**32 - 1)).astype(np.int64)
