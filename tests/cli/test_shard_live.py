"""The live view of a pack: right numbers at any width, plain lines without a terminal, and never the end of a pack."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from mermed.cli import shard_live
from mermed.cli.shard_live import clock, pack_live, total
from mermed.pack.progress import ModalityProgress

PROGRESS = {
    "ct": ModalityProgress(done=40, total=4000, read_bytes=80_000_000, bad=2, duplicates=7),
    "us": ModalityProgress(done=300, total=300, read_bytes=10_000_000, bad=1),
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock_s(monkeypatch):
    """A clock that a test turns by hand."""
    now = [1000.0]
    monkeypatch.setattr(shard_live.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def draw(columns, clock_s, monkeypatch, stream=None):
    """What the table shows at the end of ten seconds in which the CT went from 0 to 40."""
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = stream or Terminal()
    with pack_live(stream) as watch:
        watch({"ct": ModalityProgress(total=4000), "us": replace(PROGRESS["us"], done=0, read_bytes=0)})
        stream.truncate(0)
        clock_s[0] += 10.0
        watch(PROGRESS)
        return stream.getvalue()


def plain(text):
    from rich.text import Text

    return Text.from_ansi(text).plain


def test_a_wide_terminal_shows_everything(clock_s, monkeypatch):
    text = plain(draw(100, clock_s, monkeypatch))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["packing"] == ["done", "MB/s", "bad", "dup", "left"]
    assert rows["ct"] == ["40/4,000", "8.0", "2", "7", "16:30"]
    assert rows["us"] == ["300/300", "1.0", "1", "0", "done"]
    assert rows["all"] == ["340/4,300", "9.0", "3", "7", "1:56"]


@pytest.mark.parametrize("columns", [20, 30, 50, 70, 200])
def test_no_line_is_wider_than_the_terminal(columns, clock_s, monkeypatch):
    lines = plain(draw(columns, clock_s, monkeypatch)).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= columns
    assert "…" not in "".join(lines)
    assert any(line.split()[:1] == ["ct"] for line in lines)


def test_twenty_columns_still_say_how_far_it_is(clock_s, monkeypatch):
    rows = [line.split() for line in plain(draw(20, clock_s, monkeypatch)).splitlines()]
    assert ["ct", "1%"] in rows
    assert ["all", "8%"] in rows


def test_no_color_shows_no_colour(clock_s, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = draw(100, clock_s, monkeypatch)
    assert "40/4,000" in text
    assert "\x1b[3" not in text.replace("\x1b[39m", "").replace("\x1b[49m", "")


def test_one_modality_needs_no_sum(clock_s, monkeypatch):
    stream = Terminal()
    with pack_live(stream) as watch:
        watch({"ct": PROGRESS["ct"]})
        assert "all" not in plain(stream.getvalue())


def test_a_known_share_counts_as_done_and_not_as_speed(clock_s):
    stream = Terminal()
    with pack_live(stream) as watch:
        watch({"ct": ModalityProgress(done=3900, total=4000)})
        clock_s[0] += 10.0
        stream.truncate(0)
        watch({"ct": ModalityProgress(done=3910, total=4000)})
        assert plain(stream.getvalue()).splitlines()[-1].split()[-1] == "1:30"


def test_speed_is_that_of_the_last_seconds(clock_s):
    stream = Terminal()
    with pack_live(stream) as watch:
        for step in range(100):
            clock_s[0] += 1.0
            stream.truncate(0)
            fast = min(step, 50) * 1_000_000
            watch({"ct": ModalityProgress(done=step, total=1000, read_bytes=fast)})
        assert plain(stream.getvalue()).splitlines()[-1].split()[2] == "-"


@pytest.mark.parametrize("setting", [{}, {"TERM": "dumb"}])
def test_without_a_terminal_there_are_plain_lines_now_and_then(setting, clock_s, monkeypatch):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if setting else io.StringIO()
    with pack_live(stream) as watch:
        for step in range(1, 2501):
            clock_s[0] += 0.01
            watch({"ct": ModalityProgress(done=step, total=2500, read_bytes=step * 10_000, bad=1)})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[-1] == "packing 2,500/2,500 inputs (ct 2,500/2,500), 1.0 MB/s, 1 bad, 0 duplicates, left done"
    assert "\x1b" not in stream.getvalue()


def test_a_pack_that_reads_nothing_shows_nothing_and_a_failed_one_no_last_line():
    stream = io.StringIO()
    with pack_live(stream):
        pass
    with pytest.raises(ZeroDivisionError), pack_live(stream) as watch:
        watch(PROGRESS)
        _ = 1 / 0
    assert stream.getvalue() == ""


def test_watching_is_cheap_enough_for_every_input(clock_s):
    stream = Terminal()
    with pack_live(stream) as watch:
        watch(PROGRESS)
        size = len(stream.getvalue())
        for _ in range(1000):
            watch(PROGRESS)
        assert len(stream.getvalue()) == size


class Broken(Terminal):
    """A stream whose other end is gone."""

    def write(self, text):
        raise BrokenPipeError

    flush = write


@pytest.mark.parametrize("closed", [False, True])
def test_a_display_that_is_gone_does_not_end_the_pack(closed, clock_s):
    stream = Broken() if not closed else Terminal()
    if closed:
        stream.close()
    done = 0
    with pack_live(stream) as watch:
        for done in range(1, 4):
            clock_s[0] += 20.0
            watch({"ct": ModalityProgress(done=done, total=3)})
    assert done == 3


def test_a_display_that_knows_no_unicode_gets_ascii(clock_s):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", write_through=True)
    with pack_live(stream) as watch:
        watch({"ct": ModalityProgress(done=1, total=1)})
    assert raw.getvalue().decode("ascii").startswith("packing 1/1 inputs")


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_closed_full_or_broken_stderr_leaves_the_exit_code_alone(redirect, tmp_path):
    program = tmp_path / "pack.py"
    program.write_text(
        "from mermed.cli.shard_live import pack_live\n"
        "from mermed.pack.progress import ModalityProgress\n"
        "import time\n"
        "with pack_live() as watch:\n"
        "    for done in range(4):\n"
        "        watch({'ct': ModalityProgress(done=done, total=3)})\n"
        "        time.sleep(0.1)\n"
        "print('packed')\n"
    )
    command = ["bash", "-c", f'"{sys.executable}" "{program}" {redirect}']
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert (shown.returncode, shown.stdout) == (0, "packed\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (42.4, "0:42"), (725, "12:05"), (12000, "3:20:00"), (190_000, "2 d 4 h"), (1e300, "11574 d 1 h")],
)
def test_times_read_as_people_write_them(seconds, text):
    assert clock(seconds) == text


def test_the_sum_counts_every_modality():
    assert total(PROGRESS) == ModalityProgress(done=340, total=4300, read_bytes=90_000_000, bad=3, duplicates=7)
    assert total({}) == ModalityProgress()
