"""The shuffle: a bijection that can be undone, whole or in windows of blocks, for many sources in one call."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed import keyed
from mermed.stream.order.shuffle import shuffled, unshuffled


@settings(max_examples=80, deadline=None)
@given(length=st.integers(1, 700), block=st.integers(1, 70), window_blocks=st.integers(0, 9), stream=st.integers(0, 99))
def test_a_shuffle_sends_every_place_to_another_sample_and_can_be_undone(length, block, window_blocks, stream):
    places = np.arange(length)
    mixed = shuffled(places, length, stream, block=block, window=block * window_blocks)
    assert sorted(mixed.tolist()) == places.tolist()
    assert unshuffled(mixed, length, stream, block=block, window=block * window_blocks).tolist() == places.tolist()


@settings(max_examples=40, deadline=None)
@given(length=st.integers(100, 3000), block=st.integers(2, 20), window_blocks=st.integers(1, 6))
def test_a_window_of_places_meets_no_more_blocks_than_it_holds(length, block, window_blocks):
    window = block * window_blocks
    mixed = shuffled(np.arange(length), length, 5, block=block, window=window)
    for start in range(0, length - window, window):
        blocks = set((mixed[start : start + window] // block).tolist())
        assert len(blocks) == window_blocks


def test_many_sources_in_one_call_are_shuffled_as_each_alone():
    lengths = np.repeat([5, 64, 700, 4097], 20)
    streams = np.array([keyed.key("many", int(length)) for length in lengths], np.uint64)
    blocks, windows = np.repeat([2, 7, 64, 64], 20), np.repeat([0, 14, 0, 1024], 20)
    places = np.arange(80) * 7919 % lengths
    together = shuffled(places, lengths, streams, block=blocks, window=windows)
    for n in range(80):
        sizes = {"block": int(blocks[n]), "window": int(windows[n])}
        assert shuffled(places[n : n + 1], int(lengths[n]), int(streams[n]), **sizes).tolist() == [together[n]]
    assert unshuffled(together, lengths, streams, block=blocks, window=windows).tolist() == places.tolist()


@pytest.mark.parametrize("window", [0, 256])
def test_two_cycles_have_nothing_in_common_but_chance(window):
    first, second = (shuffled(np.arange(4096), 4096, keyed.key(c), block=16, window=window) for c in range(2))
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
