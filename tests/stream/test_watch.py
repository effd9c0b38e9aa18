"""The watch: seconds where they were spent, once; laps of one thread; waits with a reason; incidents counted."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mermed.stream.meters.watch import Watch


def sleep(seconds):
    """Sleep, and say how long it really was: a busy machine oversleeps."""
    begin = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - begin


def test_twenty_known_sleeps_are_measured_within_a_tenth():
    watch, slept_s = Watch(), 0.0
    for _ in range(20):
        with watch.timing("disk"):
            slept_s += sleep(0.05)
    assert slept_s >= 20 * 0.05
    assert watch.seconds()["disk"] == pytest.approx(slept_s, rel=0.1)


def test_a_download_behind_a_disk_read_counts_as_network_alone():
    watch = Watch()
    with watch.timing("disk"):
        disk_s = sleep(0.05)
        with watch.timing("network"):
            network_s = sleep(0.1)
            watch.spent("cache", 0.04)
    seconds = watch.seconds()
    assert seconds["cache"] == 0.04
    assert seconds["network"] == pytest.approx(network_s - 0.04, rel=0.1)
    assert seconds["disk"] == pytest.approx(disk_s, rel=0.1)


def test_a_body_that_fails_is_timed_and_its_error_goes_on():
    watch = Watch()
    with pytest.raises(OSError, match="gone"), watch.timing("network"):
        time.sleep(0.02)
        raise OSError("gone")
    assert watch.seconds()["network"] >= 0.02
    with watch.timing("disk"):
        slept_s = sleep(0.05)
    assert watch.seconds()["disk"] == pytest.approx(slept_s, rel=0.1), "the failed body is not open around later ones"


def test_a_lap_holds_the_seconds_of_its_own_thread_only():
    watch, barrier = Watch(), threading.Barrier(4)

    def read(cause):
        with watch.lap() as lap:
            barrier.wait()
            watch.spent(cause, 1.0)
            barrier.wait()
        return dict(lap)

    with ThreadPoolExecutor(4) as pool:
        laps = list(pool.map(read, ["network", "cache", "disk", "decode"]))
    assert laps == [{"network": 1.0}, {"cache": 1.0}, {"disk": 1.0}, {"decode": 1.0}]
    assert watch.seconds() == {"network": 1.0, "cache": 1.0, "disk": 1.0, "decode": 1.0}


def test_a_lap_inside_a_lap_fills_both_and_nothing_before_or_after():
    watch = Watch()
    watch.spent("disk", 8.0)
    with watch.lap() as outer:
        watch.spent("disk", 1.0)
        with watch.lap() as inner:
            watch.spent("disk", 2.0)
    watch.spent("disk", 16.0)
    assert (dict(outer), dict(inner)) == ({"disk": 3.0}, {"disk": 2.0})


@pytest.mark.parametrize(
    "use", [lambda watch: watch.timing("disc").__enter__(), lambda watch: watch.spent("disc", 1.0)]
)
def test_a_cause_that_no_reader_knows_is_refused(use):
    with pytest.raises(ValueError, match="disc"):
        use(Watch())


def test_reasons_are_told_longest_first_once_each_and_end_with_their_wait():
    watch = Watch()
    with watch.waiting("the store answers 503"):
        time.sleep(0.02)
        with watch.waiting("a full cache"), watch.waiting("the store answers 503"):
            reasons = watch.reasons()
        assert [reason for reason, _ in reasons] == ["the store answers 503", "a full cache"]
        assert reasons[0][1] >= 0.02
    assert watch.reasons() == []


def test_incidents_of_all_threads_add_up():
    watch = Watch()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: watch.count("retries", number % 3), range(300)))
    assert watch.counts() == {"retries": 300}
