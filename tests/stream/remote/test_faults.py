"""Whatever goes wrong on the way, a read gives the right bytes or says what is wrong; for every protocol alike."""

import threading

import pytest
from faults import Drip, Header, Longer, Reset, Short, Stall, Status, Truncate, WrongRange
from places import CONTENT, NAME

from mermed.errors import EnvironmentError_, IntegrityError
from mermed.stream.meters.watch import Watch

END = len(CONTENT) - 1000


def copied(store, start=1000, stop=END):
    parts = []
    store.copy_to(NAME, start, stop, parts.append)
    assert all(len(part) <= 2**20 for part in parts)
    return b"".join(parts)


def test_ranged_and_whole_reads_give_the_bytes_of_the_file(place):
    store = place.open()
    assert store.read_at(NAME, 10, 20) == CONTENT[10:30]
    assert store.read(NAME) == CONTENT
    assert store.size(NAME) == len(CONTENT)
    assert copied(store) == CONTENT[1000:-1000]


def test_a_read_behind_the_end_is_short_and_a_copy_behind_the_end_is_an_error(place):
    store = place.open()
    assert store.read_at(NAME, len(CONTENT) - 5, 50) == CONTENT[-5:]
    assert store.read_at(NAME, len(CONTENT) + 5, 50) == b""
    with pytest.raises(IntegrityError, match="shorter than it should be"):
        copied(store, stop=len(CONTENT) + 1)


def test_the_first_read_of_a_file_may_lie_behind_its_end(place):
    assert place.open().read_at(NAME, len(CONTENT) + 5, 50) == b""


def test_a_copy_of_no_bytes_asks_for_nothing(place):
    assert copied(place.open(), 5, 5) == b""
    assert not place.server.requests


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_busy_store_is_asked_again_and_the_retry_is_counted(place, status):
    watch = Watch()
    place.server.inject(Status(status), times=2)
    assert copied(place.open(watch=watch)) == CONTENT[1000:-1000]
    assert watch.counts()["retries"] == 2
    assert watch.counts()[f"http_{status}"] == 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reset(after=1_500_000), id="reset"),
        pytest.param(Truncate(after=1_500_000), id="cut"),
        pytest.param(Stall(after=1_500_000, seconds=3), id="stall"),
        pytest.param(Short(by=7), id="short"),
        pytest.param(Longer(by=7), id="longer"),
        pytest.param(WrongRange(shift=512), id="another range"),
        pytest.param(Header("Content-Range", "bytes 0-9/10"), id="another size"),
        pytest.param(Header("Content-Range", "nonsense"), id="no range"),
    ],
)
def test_a_broken_or_wrong_answer_is_never_spliced(place, fault):
    watch = Watch()
    place.server.inject(fault)
    assert copied(place.open(stall_s=0.3, watch=watch)) == CONTENT[1000:-1000]
    assert watch.counts()["retries"] >= 1


@pytest.mark.parametrize("fault", [Stall(after=1_500_000, seconds=3), Truncate(after=1_500_000)], ids=["stall", "cut"])
def test_a_read_that_broke_goes_on_from_the_last_good_byte(place, fault):
    place.server.inject(fault)
    assert copied(place.open(stall_s=0.3)) == CONTENT[1000:-1000]
    first, second = (ask.range for ask in place.server.requests)
    assert first.startswith("bytes=1000-")
    assert int(second.removeprefix("bytes=").partition("-")[0]) > 1000


def test_many_breaks_in_one_read_do_not_tire_it_as_long_as_bytes_come(place):
    place.server.inject(Truncate(after=300_000), times=8)
    assert copied(place.open(patience_s=0)) == CONTENT[1000:-1000]
    assert len(place.server.requests) == 9


def test_a_store_that_is_only_slow_is_waited_for(place):
    place.server.inject(Drip(bytes_per_s=20_000))
    assert copied(place.open(stall_s=0.5), 0, 8_000) == CONTENT[:8_000]
    assert len(place.server.requests) == 1


def test_a_store_that_ignores_ranges_is_an_error_not_other_bytes(place):
    place.server.source.ranges = False
    with pytest.raises(EnvironmentError_, match="whole files instead of ranges"):
        place.open().read_at(NAME, 1000, 50)


def test_a_store_that_answers_nonsense_for_ever_is_given_up_long_before_patience_is_over(place):
    place.server.inject(WrongRange(shift=512), times=-1)
    with pytest.raises(EnvironmentError_, match="other bytes than it was asked for"):
        place.open(patience_s=1000).read_at(NAME, 1000, 50)
    assert len(place.server.requests) == 4


def test_a_file_that_is_replaced_while_the_run_goes_on_ends_it(place, folder):
    store = place.open()
    store.read_at(NAME, 0, 50)
    (folder / "bucket" / "coll" / NAME).write_bytes(CONTENT[::-1])
    with pytest.raises(IntegrityError, match="changed under the run"):
        store.read_at(NAME, 50, 50)


def test_a_file_that_is_replaced_in_the_middle_of_a_read_is_not_spliced(place, folder):
    place.server.inject(Truncate(after=1_200_000))
    taken = []

    def replace_it(chunk):
        taken.append(chunk)
        (folder / "bucket" / "coll" / NAME).write_bytes(CONTENT[::-1])

    with pytest.raises(IntegrityError, match="changed under the run"):
        place.open().copy_to(NAME, 0, len(CONTENT), replace_it)
    assert CONTENT.startswith(b"".join(taken))


def test_a_missing_file_is_named_at_once_and_the_others_are_still_read(place):
    store = place.open(patience_s=1000)
    with pytest.raises(IntegrityError, match="not in the store") as caught:
        store.read_at("ct/train/ct-train-000001.tar", 0, 50)
    assert "ct-train-000001.tar" in str(caught.value)
    assert len(place.server.requests) == 1
    assert store.read_at(NAME, 0, 50) == CONTENT[:50]


@pytest.mark.parametrize("status", [400, 405, 501])
def test_an_answer_that_no_retry_can_change_ends_the_read_at_once(place, status):
    place.server.inject(Status(status), times=-1)
    with pytest.raises(EnvironmentError_, match=str(status)):
        place.open(patience_s=1000).read_at(NAME, 0, 50)
    assert len(place.server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_makes_the_credentials_be_read_again_once(place, status):
    watch = Watch()
    place.server.inject(Status(status))
    store = place.open(watch=watch)
    assert store.read_at(NAME, 0, 50) == CONTENT[:50]
    assert watch.counts()["credentials_renewed"] == 1
    place.server.inject(Status(status), times=-1)
    with pytest.raises(EnvironmentError_, match="lets nobody in") as caught:
        store.read_at(NAME, 0, 50)
    assert caught.value.exit_code == 5
    assert len(place.server.requests) == 4


def test_patience_ends_with_the_store_the_last_answer_and_a_next_step(place):
    place.server.inject(Status(503), times=-1)
    with pytest.raises(EnvironmentError_) as caught:
        place.open(patience_s=0).read_at(NAME, 0, 50)
    text = str(caught.value)
    assert caught.value.exit_code == 5
    assert "answers 503; 4 tries" in text
    assert place.url in text
    assert "stream.patience_s" in text


def test_a_store_that_is_down_is_waited_for_with_a_reason_that_people_can_see(place):
    watch, result = Watch(), []
    store = place.open(patience_s=60, watch=watch)
    assert store.read_at(NAME, 0, 50) == CONTENT[:50]
    place.server.go_down(3600)
    reader = threading.Thread(target=lambda: result.append(store.read_at(NAME, 100, 50)))
    reader.start()
    while not watch.reasons():
        assert reader.is_alive()
    reason, _ = watch.reasons()[0]
    assert reason.endswith(place.url)
    place.server.heal()
    reader.join(30)
    assert result == [CONTENT[100:150]]
    assert not watch.reasons()


def test_closing_a_store_wakes_the_reads_that_wait(place):
    watch, errors = Watch(), []
    store = place.open(patience_s=3600, watch=watch)
    place.server.inject(Status(503, retry_after=100), times=-1)

    def read():
        try:
            store.read_at(NAME, 0, 50)
        except EnvironmentError_ as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while not watch.reasons():
        assert reader.is_alive()
    store.close()
    reader.join(30)
    assert not reader.is_alive()
    assert "closed while it was read" in str(errors[0])


def test_what_the_sink_raises_comes_through_and_is_not_taken_for_a_failure_of_the_store(place):
    def full(chunk):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        place.open(patience_s=1000).copy_to(NAME, 0, 50, full)
    assert len(place.server.requests) == 1


def test_threads_share_a_store(place):
    store = place.open(patience_s=10)
    place.server.error_rate = 0.2
    wrong = []

    def read(number):
        for start in range(number * 1000, 2_000_000, 250_000):
            if store.read_at(NAME, start, 900) != CONTENT[start : start + 900]:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert place.server.statuses.keys() > {206}
