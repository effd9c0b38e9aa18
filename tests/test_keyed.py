"""Keyed randomness: bijective, uniform, and the same numbers for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed import keyed


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 63, 64, 65, 777, 1003, 4097])
def test_a_permutation_meets_every_place_once(length):
    places = keyed.permute(np.arange(length), length, keyed.key("a", length))
    assert sorted(places.tolist()) == list(range(length))


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 10**12), stream=st.integers(0, 2**64 - 1), data=st.data())
def test_a_permutation_stays_inside_and_never_collides(length, stream, data):
    index = np.unique(np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=50)), np.int64))
    places = keyed.permute(index, length, stream)
    assert places.min() >= 0
    assert places.max() < length
    assert len(np.unique(places)) == len(index)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 63, 64, 65, 777, 1003, 4097])
def test_undoing_a_permutation_gives_back_every_index(length):
    index = np.arange(length)
    stream = keyed.key("back", length)
    assert keyed.unpermute(keyed.permute(index, length, stream), length, stream).tolist() == index.tolist()
    assert keyed.permute(keyed.unpermute(index, length, stream), length, stream).tolist() == index.tolist()


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 2**62), stream=st.integers(0, 2**64 - 1), data=st.data())
def test_a_permutation_is_undone_at_any_length_and_key(length, stream, data):
    index = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=50)), np.int64)
    assert keyed.unpermute(keyed.permute(index, length, stream), length, stream).tolist() == index.tolist()
    assert keyed.permute(keyed.unpermute(index, length, stream), length, stream).tolist() == index.tolist()


@pytest.mark.parametrize("function", [keyed.permute, keyed.unpermute])
def test_an_index_outside_is_refused(function):
    with pytest.raises(ValueError, match="outside"):
        function(np.array([5]), 5, 1)


def test_one_place_alone_equals_the_same_place_in_a_batch():
    whole = keyed.permute(np.arange(1000), 1000, 7)
    assert [int(keyed.permute(np.array([i]), 1000, 7)[0]) for i in (0, 17, 999)] == whole[[0, 17, 999]].tolist()


@pytest.mark.parametrize("function", [keyed.permute, keyed.unpermute])
def test_many_permutations_at_once_equal_each_alone(function):
    lengths = np.array([1, 2, 5, 63, 64, 65, 4097, 10**9, 2**31 + 1, 2**40, 2**62], np.int64)
    streams = np.array([keyed.key("many", int(length)) for length in lengths], np.uint64)
    for index in (lengths - 1, lengths // 2, np.zeros_like(lengths)):
        alone = [int(function(int(i), int(n), int(s))) for i, n, s in zip(index, lengths, streams, strict=True)]
        assert function(index, lengths, streams).tolist() == alone


def test_uniform_numbers_are_uniform_and_independent_over_counters():
    numbers = keyed.uniform(keyed.key("u"), np.arange(50_000)[:, None], np.arange(3))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.006)
    np.testing.assert_allclose(numbers.var(0), 1 / 12, atol=0.002)
    correlation = np.corrcoef(np.vstack([numbers.T, np.roll(numbers[:, 0], 1)]))
    assert np.abs(correlation - np.eye(4)).max() < 0.02


def test_keys_tell_types_apart_and_refuse_numpy_scalars():
    assert (
        len({keyed.key(1), keyed.key("1"), keyed.key(1, 1), keyed.key(11), keyed.key("1", "1"), keyed.key("11")}) == 6
    )
    with pytest.raises(TypeError):
        keyed.key(np.int64(1))


def test_the_arithmetic_is_frozen_under_its_order_version():
    assert keyed.ORDER_VERSION == 1
    assert keyed.key("order", 1, 0, "cxr/nih", 3) == GOLDEN_KEY
    assert keyed.words(5, np.arange(3)).tolist() == GOLDEN_WORDS
    assert keyed.permute(np.arange(10), 10, 42).tolist() == GOLDEN_PLACES


GOLDEN_KEY = 10452991702003139069
GOLDEN_WORDS = [9381462624788949956, 8771414157796829890, 8299436128016885864]
GOLDEN_PLACES = [2, 3, 7, 6, 8, 1, 0, 9, 4, 5]
