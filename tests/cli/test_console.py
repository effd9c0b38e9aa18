"""The console of a run: a reader that went away ends the lines, not the run; no terminal means plain lines."""

import io
import os

import pytest

from mermed.cli.console import RunConsole
from mermed.train.meters import LiveLine

FIGURES = {"step": 5, "loss": 4.0, "loss_by_modality": {"ct": 4.0}, "lr": 1e-4, "images_per_s": 10.0, "stall": 0.0}


def test_a_closed_pipe_silences_the_console_and_nothing_else():
    reading, writing = os.pipe()
    os.close(reading)
    stdout_before = os.fstat(1)
    file = os.fdopen(writing, "w")
    console = RunConsole(file=file)
    console.print("first")
    console.print("second")
    with LiveLine(console, steps=10, step=0) as line:
        line.show(FIGURES)
    assert console.quiet
    assert os.fstat(1) == stdout_before, "standard output is left where it was"
    with pytest.raises(BrokenPipeError):
        file.close()


def test_without_a_terminal_and_in_twenty_columns_a_reading_is_one_plain_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    with LiveLine(RunConsole(file=file), steps=10, step=0) as line:
        line.show(FIGURES)
    assert file.getvalue() == "step 5/10  loss 4.000  lr 1.0e-04  10.0 img/s  stall 0.0 %  [ct 4.00]\n"
