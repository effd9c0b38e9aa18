"""The mixture: exact shares at every place, for every run of slots, monotone and fair with the extra slots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.errors import ConfigError
from mermed.stream.mix import Mixture, quota_by_size, reduced

QUOTAS = st.lists(st.integers(1, 40), min_size=1, max_size=11).map(tuple)


def _counts(mixture, start, stop):
    source, _ = mixture.locate(np.arange(start, stop))
    return np.bincount(source, minlength=len(mixture.quota))


@pytest.mark.parametrize("modalities", range(1, 9))
@pytest.mark.parametrize("batch", [1, 5, 7, 8, 14, 56, 128])
def test_equal_weights_give_floor_or_ceil_and_the_extra_slots_rotate(modalities, batch):
    mixture = Mixture((1,) * modalities)
    num_batches = 7 * modalities
    extras = np.zeros(modalities, int)
    for number in range(num_batches):
        counts = _counts(mixture, number * batch, (number + 1) * batch)
        assert set(counts.tolist()) <= {batch // modalities, -(-batch // modalities)}
        extras += counts - batch // modalities
    assert extras.max() - extras.min() <= 1


@settings(max_examples=60, deadline=None)
@given(quota=QUOTAS)
def test_every_prefix_is_within_one_image_of_its_share(quota):
    mixture = Mixture(quota)
    total = sum(quota)
    taken = np.zeros(len(quota))
    for slot, source in enumerate(mixture.cycle, start=1):
        taken[source] += 1
        assert np.abs(taken - slot * np.array(quota) / total).max() < 1
    assert taken.tolist() == list(quota)


@settings(max_examples=60, deadline=None)
@given(quota=QUOTAS, start=st.integers(0, 10**15), length=st.integers(1, 300))
def test_any_run_of_slots_is_within_two_images_of_its_share(quota, start, length):
    counts = _counts(Mixture(quota), start, start + length)
    assert np.abs(counts - length * np.array(quota) / sum(quota)).max() < 2


@settings(max_examples=40, deadline=None)
@given(quota=QUOTAS, start=st.integers(0, 10**12))
def test_draw_numbers_count_up_without_gap_or_repeat(quota, start):
    mixture = Mixture(quota)
    source, draw = mixture.locate(np.arange(start, start + 3 * sum(quota)))
    for number, before in enumerate(mixture.drawn(start)):
        draws = draw[source == number]
        assert draws.tolist() == list(range(before, before + len(draws)))


def test_one_slot_alone_is_the_slot_of_the_batch():
    mixture = Mixture((5, 3, 2, 1, 1, 1, 1))
    source, draw = mixture.locate(np.arange(1000, 1100))
    for offset in (0, 13, 99):
        assert [int(part[0]) for part in mixture.locate(np.array([1000 + offset]))] == [source[offset], draw[offset]]


@pytest.mark.parametrize("quota", [(), (0, 1), (-1,), (1 << 16, 1)])
def test_weights_that_are_no_weights_are_refused(quota):
    with pytest.raises(ConfigError, match="whole weights"):
        Mixture(quota)


def test_alpha_goes_from_equal_to_natural():
    sizes = (100, 400, 900)
    assert quota_by_size(sizes, 0.0) == (1, 1, 1)
    assert quota_by_size(sizes, 0.5) == (1, 2, 3)
    natural = np.array(quota_by_size(sizes, 1.0))
    np.testing.assert_allclose(natural / natural.sum(), np.array(sizes) / 1400, atol=0.002)
    assert min(quota_by_size((1, 10**9), 1.0)) == 1


def test_weights_reduce_to_the_smallest_whole_numbers():
    assert reduced((20, 10, 30)) == (2, 1, 3)
