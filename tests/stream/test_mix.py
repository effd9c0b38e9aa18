"""The mixture: exact shares at every place, for every run of slots, monotone and fair with the extra slots."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.errors import ConfigError
from mermed.stream.order.mix import Mixture, quota_by_size, reduced

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


def test_the_slot_of_a_draw_is_the_inverse_of_the_draw_of_a_slot():
    mixture = Mixture((13, 1, 5, 2))
    slots = np.arange(10**9, 10**9 + 200)
    source, draw = mixture.locate(slots)
    for number in range(4):
        assert mixture.slots_of(number, draw[source == number]).tolist() == slots[source == number].tolist()


def test_the_extra_slots_go_to_every_source_equally_often():
    counts = np.array([_counts(Mixture((1,) * 7), start, start + 128) for start in range(0, 7000 * 128, 128)])
    extras = (counts - 128 // 7).sum(axis=0)
    assert counts.min() == 128 // 7
    assert extras.tolist() == [2000] * 7


def test_a_global_batch_of_whole_cycles_is_exact_and_gives_a_rank_its_extra_slot_from_one_source():
    mixture, part, ranks = Mixture((1,) * 7), 16, 7
    first_rank = np.array([_counts(mixture, start, start + part) for start in range(0, 5600, ranks * part)])
    assert np.ptp(first_rank, axis=0).max() == 0
    assert sorted(first_rank[0]) == [2] * 5 + [3] * 2
    assert _counts(mixture, 0, ranks * part).tolist() == [part] * 7


@settings(max_examples=5, deadline=None)
@given(quota=st.lists(st.integers(1, 9000), min_size=2, max_size=7).map(tuple))
def test_running_counts_never_go_backwards_and_stay_within_one_image_over_a_million_slots(quota):
    mixture = Mixture(quota)
    source, draw = mixture.locate(np.arange(1_000_000))
    for number, images in enumerate(quota):
        slots = np.flatnonzero(source == number)
        assert draw[slots].tolist() == list(range(len(slots)))
        exact = slots * images / sum(quota)
        assert np.abs(draw[slots] - exact).max() <= 1
        assert np.abs(draw[slots] + 1 - (slots + 1) * images / sum(quota)).max() < 1


@pytest.mark.parametrize("quota", [(65_535, 1), (1, 65_535), (32_768, 32_768 - 17, 9, 8), (1,) * 7 + (65_529,)])
def test_the_longest_cycles_keep_the_bounds(quota):
    cycle = Mixture(quota).cycle
    counts = np.cumsum(cycle[:, None] == np.arange(len(quota)), axis=0)
    off = counts - np.arange(1, len(cycle) + 1)[:, None] * np.array(quota) / len(cycle)
    assert np.abs(off).max() < 1
    assert counts[-1].tolist() == list(quota)


def test_the_cycles_of_mixtures_never_change_between_versions():
    for quota, digest in GOLDEN_CYCLES.items():
        assert hashlib.sha256(Mixture(quota).cycle.astype("<i8").tobytes()).hexdigest()[:16] == digest


GOLDEN_CYCLES = {
    (1,): "af5570f5a1810b7a",
    (1, 1): "9d34149fbd1fe777",
    (5, 3, 2, 1, 1, 1, 1): "4977887ffb5e8885",
    (1, 1000): "c930049ba6d6a23e",
    (400, 1, 1, 7): "13fb01d334300fc3",
    (13, 1, 1, 1, 1, 1, 1, 1, 1): "4bb7774f3e67aadf",
    (2, 3, 5, 7, 11, 13): "661e4a9146485eff",
}


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
