"""What a run logs: readings with their causes and ledger, a page, a text file; and that no full disk ends a run."""

import errno
from dataclasses import replace

from mermed.train.meters import MetricsWriter
from mermed.train.readings import read_readings
from mermed.train.report import render_report


def test_a_run_leaves_readings_a_page_can_be_made_of_and_the_newest_for_prometheus(tiny, start, tmp_path):
    path = tmp_path / "mermed.prom"
    config = replace(tiny, train=replace(tiny.train, steps=4, prometheus=str(path)))
    start(config, tmp_path / "run")
    lines = read_readings(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert set(line["stall_s"]) <= {"network", "cache", "disk", "decode", "augment", "copy", "other"}
        assert sum(line["stall_s"].values()) <= line["elapsed_s"] + 0.01
        assert line["stall_rank"] == 0
    assert sum(row["draws"] for row in lines[-1]["ledger"].values()) == 4 * config.train.batch
    assert lines[-1]["causes_s"]["decode"] > 0
    text = render_report(tmp_path / "run")
    assert "Step 4 of 4" in text
    assert all(f"<td>{source}</td>" in text for source in lines[-1]["ledger"])
    assert 'mermed_step{run="run"} 4.0' in path.read_text("utf-8")


def test_a_full_disk_for_logs_is_told_once_and_the_run_goes_on(tiny, start, quiet, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MetricsWriter, "write", full)
    config = replace(tiny, train=replace(tiny.train, steps=3, prometheus=str(tmp_path / "absent" / "mermed.prom")))
    outcome = start(config, tmp_path / "run")
    assert outcome.state.step == 3
    told = quiet.file.getvalue()
    assert told.count("metrics.jsonl cannot be written (No space left on device); the run goes on") == 1
    assert told.count("the file for Prometheus cannot be written") == 1
