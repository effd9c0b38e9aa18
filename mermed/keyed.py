"""Randomness as a pure function of keys: hashing, uniform numbers and permutations that need no stored state.

A stream is named by `key(...)`; its n-th number is `uniform(stream, n)`, its shuffle is `permute(i, length, stream)`,
undone by `unpermute`.
Everything is 64-bit integer arithmetic on numpy arrays, so one value is the same on every machine and for any batch.
`ORDER_VERSION` names this arithmetic: change it whenever any number would change.
"""

import hashlib
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORDER_VERSION = 1
FEISTEL_ROUNDS = 6

UInt64s = NDArray[np.uint64]
_U = np.uint64
_GOLDEN = _U(0x9E3779B97F4A7C15)


def key(*labels: int | str) -> int:
    """A 64-bit stream key from plain integers and strings; `key(1, "a")` differs from `key("1", "a")`."""
    digest = hashlib.blake2b(digest_size=8)
    for label in labels:
        if isinstance(label, str):
            encoded = label.encode()
            digest.update(struct.pack("<cq", b"s", len(encoded)) + encoded)
        elif type(label) is int:
            digest.update(struct.pack("<c", b"i") + (label % (1 << 128)).to_bytes(16, "little"))
        else:
            raise TypeError(f"a stream key is made of int and str, not {type(label).__name__}")
    return int.from_bytes(digest.digest(), "little")


def mix(values: ArrayLike) -> UInt64s:
    """A bijective scramble of 64-bit words (the finaliser of SplitMix64, Steele et al. 2014), elementwise."""
    with np.errstate(over="ignore"):
        word = np.asarray(values, _U)
        word = (word ^ (word >> _U(30))) * _U(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> _U(27))) * _U(0x94D049BB133111EB)
        return word ^ (word >> _U(31))


def words(stream: int, *counters: ArrayLike) -> UInt64s:
    """One 64-bit word per counter tuple; the counters broadcast against each other."""
    with np.errstate(over="ignore"):
        word = _U(stream)
        for counter in counters:
            word = mix((word + _GOLDEN) ^ mix(np.asarray(counter).astype(_U) + _GOLDEN))
        return np.asarray(word, _U)


def uniform(stream: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one per counter tuple."""
    return (words(stream, *counters) >> _U(11)).astype(np.float64) * 2.0**-53


def permute(index: ArrayLike, length: int, stream: int) -> NDArray[np.int64]:
    """Where a keyed permutation of range(length) sends each `index`: a Feistel network with cycle walking.

    O(1) per index and no table, so the place of sample 10^9 costs what the first does. Raises ValueError when an index
    lies outside [0, length).
    """
    return _permuted(index, length, stream, _feistel)


def unpermute(place: ArrayLike, length: int, stream: int) -> NDArray[np.int64]:
    """Which index `permute` sends to each `place`, at the same cost: unpermute(permute(i)) == i.

    Raises ValueError when a place lies outside [0, length).
    """
    return _permuted(place, length, stream, _feistel_back)


def _permuted(
    index: ArrayLike, length: int, stream: int, network: Callable[[UInt64s, int, UInt64s], UInt64s]
) -> NDArray[np.int64]:
    place = np.asarray(index, np.int64)
    if place.size and (place.min() < 0 or place.max() >= length):
        raise ValueError(f"an index to permute lies outside [0, {length})")
    if length <= 1:
        return np.zeros_like(place)
    half_bits = max(1, ((length - 1).bit_length() + 1) // 2)
    round_keys = words(stream, np.arange(FEISTEL_ROUNDS))
    return _walk_cycle(place.astype(_U), length, lambda word: network(word, half_bits, round_keys)).astype(np.int64)


def _feistel(word: UInt64s, half_bits: int, round_keys: UInt64s) -> UInt64s:
    """One pass of a balanced Feistel network: a bijection of [0, 4**half_bits)."""
    shift, mask = _U(half_bits), _U((1 << half_bits) - 1)
    left, right = word >> shift, word & mask
    for round_key in round_keys:
        left, right = right, left ^ (mix(right ^ round_key) & mask)
    return (left << shift) | right


def _feistel_back(word: UInt64s, half_bits: int, round_keys: UInt64s) -> UInt64s:
    """The inverse of `_feistel`: its rounds undone, the last one first."""
    shift, mask = _U(half_bits), _U((1 << half_bits) - 1)
    left, right = word >> shift, word & mask
    for round_key in round_keys[::-1]:
        left, right = right ^ (mix(left ^ round_key) & mask), left
    return (left << shift) | right


def _walk_cycle(word: UInt64s, length: int, bijection: Callable[[UInt64s], UInt64s]) -> UInt64s:
    """Apply `bijection` until every word lies below `length`: still a bijection, now of range(length)."""
    walked = bijection(word)
    while (outside := walked >= _U(length)).any():
        walked = np.where(outside, bijection(walked), walked)
    return walked
