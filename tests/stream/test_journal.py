"""The quarantine journal: one line an incident, whole or left out, and never a reason to stop."""

import threading
from io import FileIO

from mermed.stream.meters.watch import Watch
from mermed.stream.replace.journal import Incident, Journal, incidents


def _incident(slot, rank=0, **changes):
    facts = {
        "slot": slot, "source": "us/busi", "shard": "us/train/us-train-000000.tar", "index": 3, "key": f"busi-{slot}",
        "reason": "integrity", "detail": "bytes changed", "attempt": -1, "replaced_by": "busi-9", "rank": rank,
    }  # fmt: skip
    return Incident(**{**facts, **changes})


def test_a_run_without_incidents_leaves_no_file(tmp_path):
    Journal(tmp_path, 0, Watch())
    assert list(tmp_path.iterdir()) == []
    assert list(incidents(tmp_path)) == []


def test_each_rank_writes_a_file_of_its_own_and_all_are_read_back(tmp_path):
    for rank in (1, 0):
        journal = Journal(tmp_path, rank, Watch())
        for slot in (5, 2):
            journal.write(_incident(slot, rank))
    names = ["quarantine-rank-00000.jsonl", "quarantine-rank-00001.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert list(incidents(tmp_path)) == [_incident(slot, rank) for rank in (0, 1) for slot in (5, 2)]


def test_a_line_is_on_its_way_to_the_disk_when_write_returns(tmp_path):
    journal = Journal(tmp_path, 0, Watch())
    for count in (1, 2):
        journal.write(_incident(count))
        assert len(journal.path.read_text().splitlines()) == count


def test_a_resumed_run_appends(tmp_path):
    Journal(tmp_path, 0, Watch()).write(_incident(1))
    Journal(tmp_path, 0, Watch()).write(_incident(2))
    assert [incident.slot for incident in incidents(tmp_path)] == [1, 2]


def test_a_line_cut_by_a_kill_costs_that_line_alone(tmp_path):
    Journal(tmp_path, 0, Watch()).write(_incident(1))
    path = tmp_path / "quarantine-rank-00000.jsonl"
    path.write_bytes(path.read_bytes() + b'{"slot": 2, "sour')
    Journal(tmp_path, 0, Watch()).write(_incident(3))
    assert [incident.slot for incident in incidents(tmp_path)] == [1, 3]


def test_a_full_disk_costs_lines_and_a_count_and_the_run_goes_on(tmp_path, monkeypatch):
    watch = Watch()
    journal = Journal(tmp_path, 0, watch)
    journal.write(_incident(1))

    class Part(FileIO):
        def write(self, line):
            return super().write(line[:20])

    class Full(FileIO):
        def write(self, line):
            raise OSError(28, "No space left on device")

    opened = type(journal.path).open
    for slot, kind in ((2, Part), (3, Full)):
        monkeypatch.setattr(type(journal.path), "open", lambda path, *_, kind=kind, **__: kind(path, "ab"))
        journal.write(_incident(slot))
    monkeypatch.setattr(type(journal.path), "open", opened)
    journal.write(_incident(4))
    assert [incident.slot for incident in incidents(tmp_path)] == [1, 4]
    assert watch.counts() == {"journal_lost": 2}


def test_a_folder_that_is_gone_does_not_stop_training(tmp_path):
    watch = Watch()
    Journal(tmp_path / "gone", 0, watch).write(_incident(1))
    assert watch.counts() == {"journal_lost": 1}


def test_lines_of_many_threads_do_not_mix(tmp_path):
    journal = Journal(tmp_path, 0, Watch())
    threads = [
        threading.Thread(target=lambda first=first: [journal.write(_incident(first + n)) for n in range(50)])
        for first in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(incident.slot for incident in incidents(tmp_path)) == list(range(400))
