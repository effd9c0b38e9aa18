"""Randomness as a pure function of keys: hashing, uniform numbers and permutations that need no stored state.

A stream is named by `key(...)`; its n-th number is `uniform(stream, n)`, its shuffle is `permute(i, length, stream)`,
undone by `unpermute`.
Everything is 64-bit integer arithmetic on numpy arrays, so one value is the same on every machine and for any batch.
`ORDER_VERSION` names this arithmetic: change it whenever any number would change.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Any

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
        return _scrambled(np.asarray(values, _U))


def _scrambled(word: UInt64s) -> UInt64s:
    mixed = word >> _U(30)
    mixed ^= word
    mixed *= _U(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> _U(27)
    mixed *= _U(0x94D049BB133111EB)
    mixed ^= mixed >> _U(31)
    return mixed


def _scrambled_one(word: int) -> int:
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return word ^ (word >> 31)


def words(stream: ArrayLike, *counters: ArrayLike) -> UInt64s:
    """One 64-bit word per stream and counter tuple; they broadcast against each other."""
    with np.errstate(over="ignore"):
        word = np.asarray(stream, _U)
        for counter in counters:
            word = mix((word + _GOLDEN) ^ mix(np.asarray(counter).astype(_U) + _GOLDEN))
        return np.asarray(word, _U)


def uniform(stream: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one per counter tuple."""
    return (words(stream, *counters) >> _U(11)).astype(np.float64) * 2.0**-53


Network = Callable[[Any, Any, Iterable[Any], Callable[[Any], Any]], Any]
"""A bijection of [0, 4**half_bits): word, half_bits, round_keys, scramble; all of them ints, or all uint64 arrays."""
_FEW_WORDS = 8
"""So few words are walked one by one: a call of numpy costs more than they do."""


def permute(index: ArrayLike, length: ArrayLike, stream: ArrayLike) -> NDArray[np.int64]:
    """Where a keyed permutation of range(length) sends each `index`: a Feistel network with cycle walking.

    O(1) per index and no table, so the place of sample 10^9 costs what the first does. `length` and `stream` may be
    arrays of one entry per index: many permutations at once. Raises ValueError when an index lies outside [0, length).
    """
    return _permuted(index, length, stream, _feistel)


def unpermute(place: ArrayLike, length: ArrayLike, stream: ArrayLike) -> NDArray[np.int64]:
    """Which index `permute` sends to each `place`, at the same cost: unpermute(permute(i)) == i.

    Raises ValueError when a place lies outside [0, length).
    """
    return _permuted(place, length, stream, _feistel_back)


def _permuted(index: ArrayLike, length: ArrayLike, stream: ArrayLike, network: Network) -> NDArray[np.int64]:
    """Apply the network to every word until it lies below its length: still a bijection, now of range(length)."""
    shape = np.shape(index)
    places = np.asarray(index, np.int64).ravel()
    lengths = np.broadcast_to(np.asarray(length, np.int64), shape).ravel()
    if (places < 0).any() or (places >= lengths).any():
        raise ValueError(f"an index to permute lies outside [0, {length})")
    limits, half_bits = lengths.astype(_U), _half_bits(lengths)
    per_round = words(np.ravel(np.asarray(stream, _U)), np.arange(FEISTEL_ROUNDS)[:, None])
    round_keys = np.broadcast_to(per_round, (FEISTEL_ROUNDS, *places.shape))
    walked = network(places.astype(_U), half_bits, round_keys, _scrambled)
    outside = np.flatnonzero(walked >= limits)
    while outside.size > _FEW_WORDS:
        again = network(walked[outside], half_bits[outside], round_keys[:, outside], _scrambled)
        walked[outside] = again
        outside = outside[again >= limits[outside]]
    for place in outside.tolist():
        word, limit, bits = int(walked[place]), int(limits[place]), int(half_bits[place])
        keys = round_keys[:, place].tolist()
        while word >= limit:
            word = network(word, bits, keys, _scrambled_one)
        walked[place] = word
    return walked.astype(np.int64).reshape(shape)


def _half_bits(length: NDArray[np.int64]) -> UInt64s:
    """Half the bits of the smallest power of 4 that holds range(length), at least 1."""
    largest = np.maximum(length - 1, 1).astype(_U)
    for shift in (1, 2, 4, 8, 16, 32):
        largest = largest | (largest >> _U(shift))
    return (np.bitwise_count(largest).astype(_U) + _U(1)) // _U(2)


def _feistel(word: Any, half_bits: Any, round_keys: Iterable[Any], scramble: Callable[[Any], Any]) -> Any:
    """One pass of a balanced Feistel network: a bijection of [0, 4**half_bits)."""
    mask = (1 << half_bits) - 1
    left, right = word >> half_bits, word & mask
    for round_key in round_keys:
        left, right = right, left ^ (scramble(right ^ round_key) & mask)
    return (left << half_bits) | right


def _feistel_back(word: Any, half_bits: Any, round_keys: Iterable[Any], scramble: Callable[[Any], Any]) -> Any:
    """The inverse of `_feistel`: its rounds undone, the last one first."""
    mask = (1 << half_bits) - 1
    left, right = word >> half_bits, word & mask
    for round_key in reversed(list(round_keys)):
        left, right = right ^ (scramble(left ^ round_key) & mask), left
    return (left << half_bits) | right
