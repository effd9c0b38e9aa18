"""The failure budget: small enough to notice, large enough not to stop for one bad sample."""

import threading

import pytest

from mermed.config import StreamConfig
from mermed.errors import IntegrityError
from mermed.stream.replace import budget as budget_module
from mermed.stream.replace.budget import Budget, Limits

BAD = IntegrityError("a sample's bytes changed since they were packed")
LOOSE = 10**9


@pytest.fixture
def short_memory(monkeypatch):
    """A hundredth of the draws that are remembered."""
    monkeypatch.setattr(budget_module, "LEAST_DRAWS", 100)
    monkeypatch.setattr(budget_module, "MEMORY_DRAWS", 2000)


def _fail(budget, times, shard="us/train/us-train-000000.tar"):
    for _ in range(times):
        budget.failed(shard, BAD)


def _pass(budget, times):
    for _ in range(times):
        budget.passed()


def test_the_default_stops_at_the_eleventh_failure_of_a_young_run():
    budget = Budget(Limits.of(StreamConfig()))
    for _ in range(10):
        _fail(budget, 1)
        _pass(budget, 3)
    with pytest.raises(IntegrityError, match="too many samples cannot be used") as caught:
        _fail(budget, 1)
    text = str(caught.value)
    assert "fewer than 0.100% of 10,000 draws (stream.max_failed)" in text
    assert "11 failures, 1 of them in a row; the last: a sample's bytes changed" in text
    assert "mermed-shard verify DATA" in text
    assert caught.value.exit_code == 4


def test_more_draws_allow_more_failures_in_proportion(short_memory):
    budget = Budget(Limits(max_failed=0.1, max_failed_in_a_row=LOOSE))
    _pass(budget, 500)
    _fail(budget, 50)
    with pytest.raises(IntegrityError):
        _fail(budget, 1)


def test_a_long_good_past_does_not_hide_a_new_fault(short_memory):
    """A rate over the whole run would allow 2,000 failures here; what counts is the share of the last draws."""
    budget = Budget(Limits(max_failed=0.1, max_failed_in_a_row=LOOSE))
    _pass(budget, 20_000)
    with pytest.raises(IntegrityError):
        _fail(budget, 201)


def test_half_the_allowed_rate_never_stops_a_run(short_memory):
    budget = Budget(Limits(max_failed=0.1, max_failed_in_a_row=32))
    for draw in range(20_000):
        if draw % 20 == 0:
            _fail(budget, 1)
        budget.passed()


def test_failures_in_a_row_stop_a_run_whatever_the_rate():
    budget = Budget(Limits(max_failed=1.0, max_failed_in_a_row=32))
    _fail(budget, 31)
    budget.passed()
    _fail(budget, 31)
    with pytest.raises(IntegrityError, match=r"max_failed_in_a_row") as caught:
        _fail(budget, 1)
    assert "32 of them in a row" in str(caught.value)


def test_once_spent_it_stays_spent():
    budget = Budget(Limits(max_failed=0.0, max_failed_in_a_row=LOOSE))
    for _ in range(3):
        with pytest.raises(IntegrityError, match="too many samples"):
            _fail(budget, 1)


def test_the_worst_shards_are_named_with_their_counts_worst_first():
    budget = Budget(Limits(max_failed=0.0021, max_failed_in_a_row=LOOSE))
    for number, times in enumerate((1, 9, 2, 5, 1, 3)):
        _fail(budget, times, f"shard-{number}.tar")
    with pytest.raises(IntegrityError) as caught:
        _fail(budget, 1, "shard-1.tar")
    worst = "6, the worst shard-1.tar: 10, shard-3.tar: 5, shard-5.tar: 3, shard-2.tar: 2, shard-0.tar: 1"
    assert worst in str(caught.value)


def test_threads_count_together():
    budget = Budget(Limits(max_failed=0.5, max_failed_in_a_row=LOOSE))
    threads = [threading.Thread(target=_fail, args=(budget, 1000)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(IntegrityError, match="5001 failures"):
        _fail(budget, 1)
