"""The teller: a long wait has a visible reason, told again and again; it ends with the wait and harms nobody."""

import threading
import time

import pytest

from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.teller import StallTeller, stream_stacks
from mermed.stream.meters.watch import Watch


class _Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def told():
    return []


@pytest.fixture
def silent(told):
    """A teller whose own thread never speaks and whose clock the test moves: `look` is called by hand."""
    watch, clock = Watch(), _Clock()
    queues = (QueueStats("encoded", 2), QueueStats("canvas", 3))
    teller = StallTeller(told.append, watch, queues, clock=clock)
    teller.close()
    return teller, watch, clock


def _look_at(teller, clock, *waits_s):
    begin = clock.now
    for waited_s in waits_s:
        clock.now = begin + waited_s
        teller.look()


def test_a_short_wait_is_not_worth_a_word(silent, told):
    teller, _, clock = silent
    with teller.waiting():
        _look_at(teller, clock, 1, 9.9)
    _look_at(teller, clock, 500)
    assert told == []


def test_a_long_wait_names_its_reason_after_ten_seconds_and_again_every_thirty(silent, told):
    teller, watch, clock = silent
    with teller.waiting(), watch.waiting("store answers 503: https://host/bucket (tried 9 times)"):
        _look_at(teller, clock, *range(1, 75))
    assert [line.split(" for data: ")[0] for line in told] == ["waiting 10 s", "waiting 40 s", "waiting 70 s"]
    assert all("store answers 503: https://host/bucket (tried 9 times) (for " in line for line in told)


def test_each_wait_is_counted_from_its_own_beginning(silent, told):
    teller, _, clock = silent
    for _ in range(3):
        with teller.waiting():
            _look_at(teller, clock, 4, 8)
    assert told == []
    with teller.waiting():
        _look_at(teller, clock, 11)
    assert told[0].startswith("waiting 11 s for data: ")


def test_without_a_known_reason_the_queues_are_told(silent, told):
    teller, _, clock = silent
    with teller.waiting():
        _look_at(teller, clock, 12)
    assert told == ["waiting 12 s for data: nothing reports why; the queues hold: encoded 0 of 2, canvas 0 of 3"]


def test_many_reasons_are_counted_not_listed(silent, told):
    teller, watch, clock = silent
    with teller.waiting(), watch.waiting("one"), watch.waiting("two"), watch.waiting("three"), watch.waiting("four"):
        _look_at(teller, clock, 10)
    assert told[0].endswith("; and 1 more")


def test_after_minutes_every_thread_of_the_stream_says_where_it_stands_once(silent, told):
    teller, _, clock = silent
    release, standing = threading.Event(), threading.Event()

    def stuck_in_a_read():
        standing.set()
        release.wait(30)

    threads = [threading.Thread(target=stuck_in_a_read, name=f"mermed-read_{number}") for number in range(2)]
    other = threading.Thread(target=stuck_in_a_read, name="somebody-else")
    try:
        for thread in (*threads, other):
            thread.start()
        assert standing.wait(10)
        deadline = time.monotonic() + 10
        while "stuck_in_a_read" not in stream_stacks() and time.monotonic() < deadline:
            time.sleep(0.01)
        with teller.waiting():
            _look_at(teller, clock, 299, 300, 301, 900)
    finally:
        release.set()
        for thread in (*threads, other):
            thread.join()
    stacks = [text for text in told if "the threads of the stream" in text]
    assert len(stacks) == 1
    assert "mermed-read_0" in stacks[0] and "mermed-read_1" in stacks[0] and "stuck_in_a_read" in stacks[0]
    assert "somebody-else" not in stacks[0]
    assert str(threading.__file__) not in stacks[0], "a stack names the module, not where it is installed"


def test_the_thread_speaks_by_itself_and_is_gone_after_close(told):
    before = threading.active_count()
    watch, spoken = Watch(), threading.Event()
    with StallTeller(lambda text: (told.append(text), spoken.set()), watch, first_s=0.02, again_s=0.02) as teller:
        with teller.waiting(), watch.waiting("a slow store"):
            assert spoken.wait(10)
    assert threading.active_count() == before
    assert "a slow store" in told[0]
    teller.close()


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_closed_terminal_silences_it_and_the_run_goes_on(error, capsys):
    spoken = threading.Event()

    def tell(_):
        spoken.set()
        raise error

    with StallTeller(tell, Watch(), first_s=0.01) as teller:
        with teller.waiting():
            assert spoken.wait(10)
            teller._thread.join(10)
        assert not teller._thread.is_alive()
    assert capsys.readouterr().err == ""
