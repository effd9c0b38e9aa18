"""The text file for Prometheus: its format to the letter, replaced as a whole, and logs that fail without harm."""

import errno
import math
import re

import pytest

from mermed.train.lenient import Lenient
from mermed.train.prometheus import PrometheusFile, prometheus_text

READING = {
    "step": 120,
    "slots": 3360,
    "loss": 4.25,
    "loss_by_modality": {"ct": 4.5, "cxr": 4.0},
    "images_per_s": 81.5,
    "stall_s": {"network": 0.5},
    "causes_s": {"decode": 12.5},
    "incidents": {"retries": 3},
    "queues": {"canvas_occupancy": 0.9},
    "audit": "00ff",
    "ledger": {"ct/one": {"draws": 5}},
}
NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (NaN|[+-]Inf|[-+0-9.e]+)")


def test_every_line_follows_the_exposition_format():
    lines = prometheus_text(READING, 'a "run"\\with\nall').splitlines()
    described = {}
    for line in lines:
        if line.startswith("#"):
            mark, name, *rest = line[2:].split(" ", 2)
            described.setdefault(name, {})[mark] = rest[0]
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        assert described[found[1]]["TYPE"] in ("gauge", "counter")
        assert described[found[1]]["HELP"]
        assert found[1].endswith("_total") == (described[found[1]]["TYPE"] == "counter")
    names = [line.split("{")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(names, key=names.index), "the samples of a metric stand together"


def test_the_figures_of_a_reading_are_there_with_their_labels():
    lines = prometheus_text(READING, "first").splitlines()
    for line in (
        'mermed_step{run="first"} 120.0',
        'mermed_images_per_second{run="first"} 81.5',
        'mermed_slots_total{run="first"} 3360.0',
        'mermed_loss_by_modality{run="first",modality="cxr"} 4.0',
        'mermed_stall_seconds{run="first",cause="network"} 0.5',
        'mermed_thread_seconds_total{run="first",cause="decode"} 12.5',
        'mermed_incidents_total{run="first",kind="retries"} 3.0',
        'mermed_queues{run="first",figure="canvas_occupancy"} 0.9',
    ):
        assert line in lines
    assert "00ff" not in "".join(lines)


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (1e-9, "1e-09")]
)
def test_numbers_that_are_none_are_written_as_prometheus_reads_them(value, text):
    assert f'mermed_loss{{run="r"}} {text}\n' in prometheus_text({"loss": value}, "r")


def test_the_file_is_replaced_as_a_whole_and_no_draft_is_left(tmp_path):
    path = tmp_path / "mermed.prom"
    writer = PrometheusFile(path, "first")
    writer.write(READING)
    writer.write(READING | {"step": 130})
    assert 'mermed_step{run="first"} 130.0' in path.read_text("utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mermed.prom"]
    assert path.stat().st_mode & 0o044, "a collector of another user can read it"


def test_a_failed_write_keeps_the_reading_before_and_leaves_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "mermed.prom"
    writer = PrometheusFile(path, "first")
    writer.write(READING)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mermed.draft.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        writer.write(READING | {"step": 130})
    assert 'mermed_step{run="first"} 120.0' in path.read_text("utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mermed.prom"]


def test_a_full_disk_is_told_once_and_once_more_when_it_is_over():
    told, full = [], True

    def write():
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    lenient = Lenient(told.append)
    assert [lenient.attempt("metrics.jsonl", write) for _ in range(5)] == [False] * 5
    assert told == ["metrics.jsonl cannot be written (No space left on device); the run goes on"]
    full = False
    assert lenient.attempt("metrics.jsonl", write)
    assert told[1:] == ["metrics.jsonl is written again"]
    assert lenient.attempt("metrics.jsonl", write)
    assert len(told) == 2


def test_two_logs_are_told_apart_and_a_mistake_of_the_program_is_not_hidden():
    told = []

    def refuse():
        raise PermissionError(errno.EACCES, "Permission denied")

    lenient = Lenient(told.append)
    lenient.attempt("metrics.jsonl", refuse)
    lenient.attempt("mermed.prom", refuse)
    assert len(told) == 2
    with pytest.raises(ZeroDivisionError):
        lenient.attempt("metrics.jsonl", lambda: 1 / 0)


def test_a_console_that_fails_too_harms_nobody():
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    assert not Lenient(fail).attempt("the console", fail)
