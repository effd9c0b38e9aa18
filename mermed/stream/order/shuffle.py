"""Where a shuffle sends a place of a cycle: a keyed permutation over everything, or over windows of blocks."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mermed import keyed

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Permutation = Callable[[ArrayLike, ArrayLike, ArrayLike], Int64s]
_key = lru_cache(1 << 14)(keyed.key)


def shuffled(
    place: Int64s, length: int | Int64s, stream: int | UInt64s, *, block: int | Int64s, window: int | Int64s
) -> Int64s:
    """The sample index at each `place` of a cycle over `length` samples under the key `stream`.

    Where `window` is 0 the whole cycle is one permutation. Otherwise blocks of `block` neighbouring samples are moved
    over the cycle, and samples inside windows of `window` samples, a multiple of `block`, so that only a window need be
    at hand. The samples after the last whole block stay in the last windows. All but `place` may be one number or an
    array of one per place.
    """
    length, stream, block, window = _spread(place, length, stream, block, window)
    start, size, inside = _windows(place, length, stream, window)
    mixed = start + keyed.permute(place - start, size, inside)
    return _move_blocks(mixed, length, stream, block, window, keyed.permute)


def unshuffled(
    index: Int64s, length: int | Int64s, stream: int | UInt64s, *, block: int | Int64s, window: int | Int64s
) -> Int64s:
    """The place of a cycle at which each sample `index` comes: the inverse of `shuffled`."""
    length, stream, block, window = _spread(index, length, stream, block, window)
    mixed = _move_blocks(index, length, stream, block, window, keyed.unpermute)
    start, size, inside = _windows(mixed, length, stream, window)
    return start + keyed.unpermute(mixed - start, size, inside)


def _spread(
    place: Int64s, length: int | Int64s, stream: int | UInt64s, block: int | Int64s, window: int | Int64s
) -> tuple[Int64s, UInt64s, Int64s, Int64s]:
    lengths, blocks, windows = (
        np.broadcast_to(np.asarray(size, np.int64), place.shape) for size in (length, block, window)
    )
    return lengths, np.broadcast_to(np.asarray(stream, np.uint64), place.shape), blocks, windows


def _move_blocks(
    index: Int64s, length: Int64s, stream: UInt64s, block: Int64s, window: Int64s, permutation: Permutation
) -> Int64s:
    """Send whole blocks where the permutation of blocks sends them; samples without a window or whole block stay."""
    moved = np.flatnonzero((window > 0) & (index < length - length % block))
    if not len(moved):
        return index
    number, rest = np.divmod(index[moved], block[moved])
    keys = np.array([_key(whole, "blocks") for whole in stream[moved].tolist()], np.uint64)
    result = index.copy()
    result[moved] = permutation(number, length[moved] // block[moved], keys) * block[moved] + rest
    return result


def _windows(place: Int64s, length: Int64s, stream: UInt64s, window: Int64s) -> tuple[Int64s, Int64s, UInt64s]:
    """Where the window of each place begins, how many samples it holds, and its key."""
    if not window.any():
        return np.zeros_like(place), length, stream
    number = place // np.maximum(window, 1)
    start = number * window
    size = np.where(window > 0, np.minimum(window, length - start), length)
    keys = [
        _key(whole, label) if is_windowed else whole
        for whole, label, is_windowed in zip(stream.tolist(), number.tolist(), (window > 0).tolist(), strict=True)
    ]
    return start, size, np.array(keys, np.uint64)
