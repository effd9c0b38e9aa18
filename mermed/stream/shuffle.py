"""Where a shuffle sends a place of a cycle: a keyed permutation over everything, or over windows of blocks."""

import numpy as np
from numpy.typing import NDArray

from mermed import keyed

Int64s = NDArray[np.int64]


def shuffled(place: Int64s, length: int, stream: int, *, block: int, window_blocks: int) -> Int64s:
    """The sample index at each `place` of a cycle over `length` samples, all under the key `stream`.

    With `window_blocks` 0 the whole cycle is one permutation. Otherwise blocks of `block` neighbouring samples are
    permuted over the cycle and samples inside windows of `window_blocks` blocks, so that only a window need be at hand.
    """
    if window_blocks == 0:
        return keyed.permute(place, length, stream)
    window = block * window_blocks
    mixed = np.empty_like(place)
    for number in np.unique(place // window):
        inside = place // window == number
        start = int(number) * window
        stop = min(start + window, length)
        mixed[inside] = start + keyed.permute(place[inside] - start, stop - start, keyed.key(stream, int(number)))
    whole = length // block
    in_whole = mixed < whole * block
    order = keyed.permute(mixed[in_whole] // block, whole, keyed.key(stream, "blocks"))
    mixed[in_whole] = order * block + mixed[in_whole] % block
    return mixed
