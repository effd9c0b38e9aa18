"""Near pairs: every pair within the distance and no other, without all pairs, and crowds that do not explode."""

import time
import tracemalloc

import numpy as np
import pytest

from mermed.pack.checks.near import CROWD, as_words, mirrored_pairs, near_pairs
from mermed.pack.pixels.perceptual import HASH_BITS, MIRROR_MASK


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def flip(words, bits):
    changed = words.copy()
    for bit in bits:
        changed[bit // 64] ^= np.uint64(1) << np.uint64(63 - bit % 64)
    return changed


def brute_force(hashes, distance):
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)
    one, other = np.nonzero(np.triu(bits <= distance, 1))
    return [(int(a), int(b), int(bits[a, b])) for a, b in zip(one, other, strict=True)]


def as_list(pairs):
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


@pytest.mark.parametrize("distance", [0, 1, 3, 8, 19, 23, 40, 63])
def test_the_pairs_are_those_of_a_comparison_of_all_with_all(distance):
    rng = np.random.default_rng(distance)
    centres = random_hashes(30, seed=distance)
    rows = [flip(centres[n % 30], rng.choice(HASH_BITS, rng.integers(0, 45), replace=False)) for n in range(300)]
    hashes = np.array(rows)[rng.permutation(300)]
    pairs = near_pairs(hashes, distance)
    assert as_list(pairs) == brute_force(hashes, distance)
    assert pairs.crowded == 0


@pytest.mark.parametrize("count", [3000, 60_000])
def test_planted_pairs_are_all_found_and_nothing_else(count):
    rng = np.random.default_rng(1)
    hashes = random_hashes(count)
    places = rng.permutation(count)[:1000].reshape(500, 2)
    for one, other in places:
        hashes[other] = flip(hashes[one], rng.choice(HASH_BITS, 19, replace=False))
    found = {(a, b) for a, b, _ in as_list(near_pairs(hashes, 19))}
    assert found == {(int(min(pair)), int(max(pair))) for pair in places}


def test_bits_at_the_ends_of_bands_and_words_count():
    base = random_hashes(1)[0]
    for bit in (0, 1, 25, 26, 63, 64, 65, 127, 128, 191, 192, 254, 255):
        assert as_list(near_pairs(np.array([base, flip(base, [bit])]), 1)) == [(0, 1, 1)]
        assert as_list(near_pairs(np.array([base, flip(base, [bit])]), 0)) == []


def test_a_crowd_of_equal_hashes_is_cut_short_and_said_to_be():
    count = 1_500
    hashes = np.concatenate([np.zeros((count, 4), np.uint64), random_hashes(50)])
    tracemalloc.start()
    begin_s = time.monotonic()
    pairs = near_pairs(hashes, 19)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.crowded == count
    assert len(pairs) <= count * CROWD
    assert set(pairs.first.tolist()) | set(pairs.second.tolist()) == set(range(count))
    assert time.monotonic() - begin_s < 30
    assert peak < 2**28


def test_rows_outside_a_crowd_are_found_in_full_beside_it():
    twin = random_hashes(1, seed=5)[0]
    rows = [np.zeros((2 * CROWD, 4), np.uint64), twin[None], flip(twin, range(19))[None], random_hashes(10)]
    pairs = near_pairs(np.concatenate(rows), 19)
    assert (2 * CROWD, 2 * CROWD + 1, 19) in as_list(pairs)


def test_mirrored_pairs_are_found_once_and_plain_ones_are_not():
    mask = as_words(MIRROR_MASK)[0]
    hashes = random_hashes(40)
    hashes[7] = flip(hashes[30] ^ mask, [3, 77])
    hashes[9] = hashes[11]
    assert as_list(mirrored_pairs(hashes, 19)) == [(7, 30, 2)]


def test_nothing_and_one_row_have_no_pairs():
    assert as_list(near_pairs(np.empty((0, 4), np.uint64), 19)) == []
    assert as_list(near_pairs(random_hashes(1), 19)) == []


def test_bytes_become_words_with_the_first_bit_on_top():
    words = as_words(bytes([0x80, *[0] * 30, 1]) + bytes(32))
    assert words.tolist() == [[2**63, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("distance", [-1, 64])
def test_a_distance_that_means_nothing_is_refused(distance):
    with pytest.raises(ValueError, match="0 to 63"):
        near_pairs(random_hashes(3), distance)
