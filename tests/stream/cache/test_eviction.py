"""What a cache gives up: the furthest need first, another job's minded, nothing needed before the newcomer."""

from mermed.stream.cache.eviction import Entry, next_need, victims

NOW = 1000.0
NEVER = float("inf")


def _entry(name, *, stamp=NOW, size=10):
    return Entry(name, "piece", size, stamp)


def _chosen(needs, wanted, *, spare=0, needed_at=0.0):
    entries = [_entry(str(number), stamp=float(number)) for number in range(len(needs))]
    return [entry.name for entry in victims(entries, [float(need) for need in needs], wanted, spare, float(needed_at))]


def test_what_is_needed_last_goes_first_and_no_more_goes_than_is_wanted():
    assert _chosen([1100, 1300, 1200], 10) == ["1"]
    assert _chosen([1100, 1300, 1200], 11) == ["1", "2"]
    assert _chosen([1100, 1300, 1200], 10, spare=5) == ["1", "2"]


def test_among_what_nobody_needs_the_oldest_goes_first():
    assert _chosen([NEVER, 5000, NEVER], 15) == ["0", "2"]


def test_nothing_goes_for_a_newcomer_that_is_needed_later_than_all_that_is_there():
    assert _chosen([1100, 1300, 1200], 10, needed_at=1300) == []
    assert _chosen([1100, 1300, 1200], 20, needed_at=1250) == []
    assert _chosen([1100, 1300, 1200], 10, needed_at=1250) == ["1"]


def test_the_sooner_of_two_jobs_decides_and_a_need_that_is_over_counts_no_more():
    assert next_need(_entry("a", stamp=NOW + 5), NOW + 50, NOW) == NOW + 5
    assert next_need(_entry("a", stamp=NOW + 50), NOW + 5, NOW) == NOW + 5
    assert next_need(_entry("a", stamp=NOW - 5), NOW + 50, NOW) == NOW + 50
    assert next_need(_entry("a", stamp=NOW + 5), None, NOW) == NOW + 5
    assert next_need(_entry("a", stamp=NOW - 5), None, NOW) == NEVER
