"""A stage: bounded, ordered, errors where they happened, threads gone after close."""

import threading
import time

import pytest

from mermed.stream.stage import Stage


def _counting(made, stop=None):
    for number in range(10**6):
        if number == stop:
            raise ValueError("at the eighth")
        made.append(number)
        yield number


def test_items_come_in_order_and_end():
    assert list(Stage(iter_of(5), ahead=2, name="t")) == [0, 1, 2, 3, 4]


def iter_of(count):
    yield from range(count)


def test_it_runs_ahead_but_not_further_than_asked():
    made = []
    with Stage(_counting(made), ahead=3, name="t") as stage:
        assert next(stage) == 0
        deadline = time.monotonic() + 5
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(made) <= 5


def test_an_error_is_raised_at_its_place_and_then_it_is_over():
    with Stage(_counting([], stop=8), ahead=3, name="t") as stage:
        assert [next(stage) for _ in range(8)] == list(range(8))
        with pytest.raises(ValueError, match="eighth"):
            next(stage)
        with pytest.raises(StopIteration):
            next(stage)


def test_leaving_early_ends_the_thread_and_the_generator():
    closed = []

    def items():
        try:
            yield from range(10**6)
        finally:
            closed.append(True)

    before = threading.active_count()
    for _ in range(20):
        with Stage(items(), ahead=2, name="t") as stage:
            next(stage)
    assert threading.active_count() == before
    assert len(closed) == 20


def test_waits_are_counted_on_the_side_that_waits():
    def slow():
        for number in range(3):
            time.sleep(0.05)
            yield number

    starved = Stage(slow(), ahead=2, name="t")
    list(starved)
    assert starved.stats.get_wait_s > 0.1
    assert starved.stats.occupancy < 0.5
    fed = Stage(iter_of(6), ahead=1, name="t")
    for _ in fed:
        time.sleep(0.03)
    assert fed.stats.put_wait_s > 0.1


def _given(*items):
    yield from items


def test_an_item_still_in_the_making_does_not_fill_the_queue():
    first, second = threading.Event(), threading.Event()
    with Stage(_given(first, second, first), ahead=3, name="t", is_ready=threading.Event.is_set) as stage:
        deadline = time.monotonic() + 5
        while stage._queue.qsize() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        next(stage)
        assert (stage.stats.filled, stage.stats.occupancy) == (0, 0.0)
        second.set()
        next(stage)
        assert (stage.stats.filled, stage.stats.occupancy) == (1, 1 / 6)
