"""Stalls: every wait is divided whole among its causes, and a batch that was ready stalls nobody."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.timeline import BatchTimes, StallMeter, last_of, stall
from mermed.stream.meters.watch import Watch
from mermed.stream.stage import Stage

READS = {"network": 3.0, "disk": 1.0}


@pytest.mark.parametrize(
    ("asked", "given_at", "read_at", "decoded_at", "expected"),
    [
        # read at 14, decoded at 17, given at 18: all three parts inside the wait
        (10.0, 18.0, 14.0, 17.0, {"network": 3.0, "disk": 1.0, "decode": 3.0, "copy": 1.0}),
        # read before it was asked for: only the rest of its decoding and its copy count
        (10.0, 18.0, 9.0, 17.0, {"decode": 7.0, "copy": 1.0}),
        # decoded long before: what is left is the copy
        (10.0, 10.5, 1.0, 2.0, {"copy": 0.5}),
        # ready and handed over at once: no stall
        (10.0, 10.0, 1.0, 2.0, {}),
        # an image decoded before the last sample arrived: decoding owes nothing
        (10.0, 14.0, 14.0, 12.0, {"network": 3.0, "disk": 1.0}),
        # moments past the end of the wait are cut at it
        (10.0, 14.0, 99.0, 100.0, {"network": 3.0, "disk": 1.0}),
    ],
)
def test_a_wait_is_divided_by_the_moments_of_its_batch(asked, given_at, read_at, decoded_at, expected):
    times = BatchTimes(read_at=read_at, decoded_at=decoded_at, read_s=READS)
    assert stall(asked, given_at, times) == pytest.approx(expected)


def test_a_wait_that_no_read_accounts_for_is_not_blamed_on_one():
    times = BatchTimes(read_at=5.0, decoded_at=5.0, read_s={"decode": 9.0})
    assert stall(1.0, 5.0, times) == {"other": 4.0}


MOMENTS = st.floats(0.0, 1e6)
SPENT = st.dictionaries(st.sampled_from(["network", "cache", "disk", "decode"]), st.floats(0.0, 1e3))


@given(MOMENTS, st.floats(0.0, 1e5), MOMENTS, MOMENTS, SPENT)
def test_the_parts_of_any_wait_sum_to_the_wait(asked, wait_s, read_at, decoded_at, read_s):
    parts = stall(asked, asked + wait_s, BatchTimes(read_at=read_at, decoded_at=decoded_at, read_s=read_s))
    assert sum(parts.values()) == pytest.approx(wait_s, rel=1e-6, abs=1e-6)
    assert all(seconds > 0.0 for seconds in parts.values())


def test_a_batch_is_read_when_its_last_sample_is_and_took_what_they_took():
    assert last_of([3.0, 9.0, 4.0], [{"disk": 1.0}, {"network": 2.0, "disk": 0.5}, {}]) == (
        9.0,
        {"disk": 1.5, "network": 2.0},
    )
    assert last_of([], []) == (0.0, {})


def test_a_meter_adds_stalls_up_and_starts_over_at_each_reading():
    meter = StallMeter()
    meter.waited(0.0, 4.0, BatchTimes(read_at=4.0, decoded_at=4.0, read_s=READS))
    meter.add({"copy": 0.25})
    meter.add({"copy": 0.25})
    assert meter.read() == {"network": 3.0, "disk": 1.0, "copy": 0.5}
    assert meter.read() == {}


class _SlowReader:
    """What a stream does for one batch, with a read and a decoding of known length."""

    def __init__(self, read_s, decode_s, cause):
        self.watch, self._read_s, self._decode_s, self._cause = Watch(), read_s, decode_s, cause

    def _read(self, _):
        with self.watch.lap() as lap, self.watch.timing(self._cause):
            time.sleep(self._read_s)
        return time.perf_counter(), lap

    def batches(self, count, pool):
        for _ in range(count):
            reads = list(pool.map(self._read, range(2)))
            read_at, read_s = last_of((moment for moment, _ in reads), (lap for _, lap in reads))
            time.sleep(self._decode_s)
            yield BatchTimes(read_at=read_at, decoded_at=time.perf_counter(), read_s=read_s)


def _consume(reader, count, step_s):
    """The stalls of a consumer whose steps take `step_s`, and the seconds it really waited."""
    meter, waited_s = StallMeter(), 0.0
    with ThreadPoolExecutor(2) as pool, Stage(reader.batches(count, pool), ahead=1, name="t") as stage:
        for _ in range(count):
            asked = time.perf_counter()
            times = next(stage)
            given_at = time.perf_counter()
            waited_s += given_at - asked
            meter.waited(asked, given_at, times)
            time.sleep(step_s)
    return meter.read(), waited_s


@pytest.mark.parametrize(
    ("read_s", "decode_s", "cause"), [(0.05, 0.0, "network"), (0.05, 0.0, "cache"), (0.0, 0.05, "decode")]
)
def test_a_known_sleep_shows_as_the_stall_of_its_cause(read_s, decode_s, cause):
    stalls, waited_s = _consume(_SlowReader(read_s, decode_s, "disk" if decode_s else cause), 12, step_s=0.0)
    assert waited_s >= 12 * 0.05
    assert sum(stalls.values()) == pytest.approx(waited_s)
    assert stalls[cause] >= 0.75 * waited_s


def test_batches_made_before_they_are_asked_for_stall_nobody():
    made = threading.Event()

    def batches():
        for _ in range(4):
            yield BatchTimes(read_at=time.perf_counter(), decoded_at=time.perf_counter(), read_s={"disk": 1.0})
        made.set()

    meter = StallMeter()
    with Stage(batches(), ahead=4, name="t") as stage:
        made.wait(10)
        for _ in range(4):
            asked = time.perf_counter()
            times = next(stage)
            meter.waited(asked, time.perf_counter(), times)
    assert set(meter.read()) <= {"copy"}


def test_of_four_ranks_the_one_with_the_slow_disk_stalls_most_by_it_and_none_deadlocks():
    stalls: list[dict[str, float]] = [{}] * 4

    def rank(number):
        stalls[number], _ = _consume(_SlowReader(0.1 if number == 3 else 0.0, 0.0, "disk"), 6, step_s=0.01)

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert max(range(4), key=lambda number: sum(stalls[number].values())) == 3
    assert max(stalls[3], key=stalls[3].__getitem__) == "disk"


def _slept(seconds):
    begin = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - begin


def test_known_sleeps_on_either_side_of_a_queue_are_measured_within_a_tenth():
    stats, got_s, put_s = QueueStats("t", 2), 0.0, 0.0
    for filled in (0, 1, 2, 2):
        with stats.getting(filled):
            got_s += _slept(0.05)
        with stats.putting():
            put_s += _slept(0.05)
    with stats.completing():
        got_s += _slept(0.05)
    assert stats.get_wait_s == pytest.approx(got_s, rel=0.1)
    assert stats.put_wait_s == pytest.approx(put_s, rel=0.1)
    assert (got_s >= 5 * 0.05, put_s >= 4 * 0.05) == (True, True)
    assert stats.as_dict()["t_occupancy"] == 5 / 8
    assert (stats.as_dict()["t_items"], stats.filled) == (4, 2)


def test_a_taking_that_fails_is_no_item_but_its_wait_counts():
    stats = QueueStats("t", 1)
    with pytest.raises(KeyError), stats.getting(1):
        time.sleep(0.02)
        raise KeyError
    assert stats.items == 0
    assert stats.get_wait_s >= 0.02
