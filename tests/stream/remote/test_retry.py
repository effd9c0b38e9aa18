"""The policy of retries: how long it waits, when it stops, whom it tells."""

import pytest

from mermed.errors import EnvironmentError_
from mermed.stream.meters.watch import Watch
from mermed.stream.remote import retry
from mermed.stream.remote.retry import Patience, Tries
from mermed.stream.remote.transport import Passing


class Clock:
    """Time that passes only when it is waited for; stands in for the event of a closed store too."""

    def __init__(self):
        self.now, self.waits, self.shown, self.watch = 0.0, [], [], Watch()

    def wait(self, seconds):
        self.waits.append(seconds)
        self.shown.append([reason for reason, _ in self.watch.reasons()])
        self.now += seconds
        return False


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(retry.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.1)
    return made


def tries(clock, seconds):
    patience = Patience(seconds, clock.watch, "https://host/data")
    patience.closed.wait = clock.wait
    return Tries(patience, "a.tar")


def fail_until_over(clock, seconds, failure):
    with tries(clock, seconds) as running, pytest.raises(EnvironmentError_) as caught:
        while True:
            running.bad(failure)
    return str(caught.value)


BUSY = Passing("http_503", "the store answers 503")


def test_waits_grow_to_a_limit_are_spread_by_chance_and_end_with_patience(clock):
    fail_until_over(clock, 600.0, BUSY)
    assert 590 < clock.now <= 600.5
    assert clock.waits[0] <= 0.1
    assert 5 < max(clock.waits) <= 30
    assert len({round(wait, 4) for wait in clock.waits}) > 10


def test_no_patience_still_means_a_few_quick_tries(clock):
    assert "4 tries" in fail_until_over(clock, 0.0, BUSY)
    assert sum(clock.waits) < 1


def test_a_store_that_says_when_to_come_back_is_obeyed_within_limits(clock):
    with tries(clock, 600.0) as running:
        running.bad(Passing("http_429", "the store answers 429", retry_after_s=17.0))
        running.bad(Passing("http_429", "the store answers 429", retry_after_s=86_400.0))
    assert clock.waits[0] == 17
    assert clock.waits[1] == 120


def test_a_byte_renews_patience(clock):
    with tries(clock, 10.0) as running:
        for _ in range(100):
            running.bad(Passing("resets", "the store breaks off", retry_after_s=4.0))
            running.good()
    assert clock.now > 300


def test_the_reason_is_shown_while_it_lasts_and_counted(clock):
    with tries(clock, 600.0) as running:
        running.bad(BUSY)
        running.bad(Passing("stalls", "the store sends nothing for 30 s"))
        running.good()
        assert clock.watch.reasons() == []
    assert clock.shown == [
        ["the store answers 503: https://host/data"],
        ["the store sends nothing for 30 s: https://host/data"],
    ]
    assert clock.watch.counts() == {"retries": 2, "http_503": 1, "stalls": 1}


def test_a_host_that_was_reached_before_is_waited_for_when_its_name_is_lost(clock):
    running = tries(clock, 60.0)
    running.answered()
    with running, pytest.raises(EnvironmentError_):
        while True:
            running.bad(Passing("unknown_hosts", "nobody knows the store's host", is_lost=True))
    assert clock.now > 50


def test_the_error_says_what_where_how_long_and_what_to_do(clock):
    text = fail_until_over(clock, 5.0, BUSY)
    for part in ("a.tar", "https://host/data", "within 5 s", "answers 503", "--resume"):
        assert part in text
