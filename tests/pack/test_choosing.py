"""Choosing frames: even, within bounds, and blind to frames that hardly change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mermed.pack.readers.choosing import SMALL_SIDE, changing, choose_slices, left_out, spread
from mermed.pack.treatment import Sampling


@given(st.integers(0, 500), st.integers(0, 60))
def test_a_spread_is_even_ordered_and_no_longer_than_asked(count, most):
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert all(0 <= place < count for place in chosen)
    gaps = np.diff([-1, *chosen]) if chosen else np.array([1])
    assert (np.diff(chosen) >= 1).all() if len(chosen) > 1 else True
    assert gaps[1:].max(initial=0) - gaps[1:].min(initial=gaps.max()) <= 1


def test_a_spread_is_symmetric_about_the_middle():
    assert spread(10, 2) == [2, 7]
    assert spread(5, 1) == [2]
    assert spread(3, 9) == [0, 1, 2]


@pytest.mark.parametrize(("count", "first", "last"), [(100, 10, 89), (9, 0, 8), (1, 0, 0), (20, 2, 17)])
def test_the_margin_leaves_out_a_share_at_both_ends(count, first, last):
    chosen = choose_slices(count, Sampling(max_frames=1000))
    assert (chosen[0], chosen[-1], len(chosen)) == (first, last, last - first + 1)


def test_no_margin_leaves_a_slice_to_choose():
    assert choose_slices(4, Sampling(margin=0.5)) == []
    assert choose_slices(5, Sampling(margin=0.49)) == [2]


def small(level):
    return np.full((SMALL_SIDE, SMALL_SIDE), level, np.uint8)


def test_frames_that_hardly_differ_from_the_last_kept_are_skipped():
    assert changing(map(small, [10, 11, 11, 12, 13, 14, 9]), 2.0) == [0, 3, 5, 6]


def test_slow_drift_is_seen_because_the_last_kept_frame_counts_and_not_the_one_before():
    assert changing(map(small, range(100)), 10.0) == list(range(0, 100, 10))


def test_levels_do_not_wrap_around():
    assert changing(map(small, [255, 0, 255]), 200.0) == [0, 1, 2]


def test_nothing_left_out_needs_no_row():
    assert left_out(0, "not_sampled", "") == []
    assert left_out(3, "not_sampled", "")[0].count == 3
