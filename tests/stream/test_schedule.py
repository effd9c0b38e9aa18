"""Weights that change at a slot: no draw lost or doubled, every bound kept across the change, all in closed form."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.errors import ConfigError
from mermed.stream.order.mix import Mixture
from mermed.stream.order.schedule import NEVER, Schedule


def _changes(num_sources):
    """Up to four mixtures over the same sources, some of them switched off for a while, and the slots between them."""
    quota = st.lists(st.integers(0, 12), min_size=num_sources, max_size=num_sources).map(tuple).filter(any)
    return st.lists(st.tuples(st.integers(1, 90), quota), min_size=1, max_size=4)


CHANGES = st.integers(1, 6).flatmap(_changes)


def _schedule(changes):
    slots = accumulate(gap for gap, _ in changes[1:])
    return Schedule(list(zip([0, *slots], [quota for _, quota in changes], strict=True)))


def _shares(schedule, stop):
    """The exact share of every source at each of the first `stop` slots, summed up: [stop + 1, sources]."""
    rows = [np.array(schedule.quota(slot)) / sum(schedule.quota(slot)) for slot in range(stop)]
    return np.cumsum([np.zeros(schedule.num_sources), *rows], axis=0)


def _counts(schedule, stop):
    source, _ = schedule.locate(np.arange(stop))
    return np.cumsum(np.eye(schedule.num_sources)[np.concatenate([[0], source])] * ([[0]] + [[1]] * stop), axis=0)


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_every_prefix_is_within_one_image_and_every_run_within_two_across_all_changes(changes):
    schedule = _schedule(changes)
    stop = 400
    off = _counts(schedule, stop) - _shares(schedule, stop)
    assert np.abs(off).max() < 1
    assert (off.max(axis=0) - off.min(axis=0)).max() < 2


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_draws_count_up_without_gap_or_repeat_through_all_changes(changes):
    schedule = _schedule(changes)
    source, draw = schedule.locate(np.arange(600))
    for number in range(schedule.num_sources):
        given_draws = draw[source == number]
        assert given_draws.tolist() == list(range(len(given_draws)))
    for slots in (0, 1, 89, 90, 91, 333, 600):
        assert schedule.drawn(slots) == tuple(np.bincount(source[:slots], minlength=schedule.num_sources).tolist())


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES, start=st.integers(0, 10**15))
def test_the_slot_of_a_draw_is_the_inverse_of_the_draw_of_a_slot(changes, start):
    schedule = _schedule(changes)
    for slots in (np.arange(300), np.arange(start, start + 50)):
        source, draw = schedule.locate(slots)
        for number in range(schedule.num_sources):
            inside = source == number
            assert schedule.slots_of(number, draw[inside]).tolist() == slots[inside].tolist()


def test_a_change_takes_effect_at_the_first_whole_cycle_at_or_after_its_slot():
    for slot, effect in ((1, 4), (4, 4), (5, 8), (400, 400), (401, 404)):
        schedule = Schedule([(0, (3, 1)), (slot, (1, 1))])
        assert [phase.first for phase in schedule.phases] == [0, effect]
        assert (schedule.quota(effect - 1), schedule.quota(effect)) == ((3, 1), (1, 1))


def test_a_source_that_starts_stops_and_comes_back_goes_on_where_it_stopped():
    schedule = Schedule([(0, (1, 0)), (10, (1, 1)), (20, (1, 0)), (30, (0, 1))])
    source, draw = schedule.locate(np.arange(60))
    assert source[:10].tolist() == [0] * 10
    assert sorted(source[10:20].tolist()) == [0] * 5 + [1] * 5
    assert source[20:30].tolist() == [0] * 10
    assert source[30:].tolist() == [1] * 30
    assert draw[source == 1].tolist() == list(range(35))
    assert schedule.drawn(60) == (25, 35)
    assert schedule.slots_of(0, np.array([24, 25, 10**9])).tolist()[1:] == [NEVER, NEVER]
    assert schedule.slots_of(1, np.array([0]))[0] >= 10


def test_two_changes_within_one_cycle_are_the_last_of_them():
    both = Schedule([(0, (50, 50, 1)), (3, (1, 2, 0)), (7, (2, 1, 5))])
    last = Schedule([(0, (50, 50, 1)), (7, (2, 1, 5))])
    slots = np.arange(500)
    assert [part.tolist() for part in both.locate(slots)] == [part.tolist() for part in last.locate(slots)]
    assert both.drawn(333) == last.drawn(333)


def test_without_a_change_a_schedule_is_its_mixture():
    slots = np.arange(10**12, 10**12 + 100)
    for of in (Schedule([(0, (5, 3, 2))]), Schedule([(0, (5, 3, 2)), (17, (5, 3, 2))])):
        assert [part.tolist() for part in of.locate(slots)] == [
            part.tolist() for part in Mixture((5, 3, 2)).locate(slots)
        ]


@pytest.mark.parametrize("changes", [[(0, (0, 0))], [(0, (1, 1)), (5, (0, 0))]])
def test_a_mixture_without_any_image_is_refused_with_its_slot(changes):
    with pytest.raises(ConfigError, match=f"from slot {changes[-1][0]}"):
        Schedule(changes)


def test_the_arithmetic_holds_to_the_end_of_64_bits():
    schedule = Schedule(
        [
            (0, (65_000, 500)),
            (
                10**9,
                (
                    1,
                    65_000,
                ),
            ),
            (2**61, (7, 3)),
        ]
    )
    slots = np.arange(2**62 - 500, 2**62)
    source, draw = schedule.locate(slots)
    assert np.bincount(source).tolist() == [350, 150]
    assert draw.min() > 0
    for number in (0, 1):
        inside = source == number
        assert (np.diff(draw[inside]) == 1).all()
        assert schedule.slots_of(number, draw[inside]).tolist() == slots[inside].tolist()
        assert schedule.drawn(2**62)[number] == int(draw[inside][-1]) + 1
    assert sum(schedule.drawn(2**62)) == 2**62
