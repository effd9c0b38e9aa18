"""mermed-shard show and preview from the outside: files, JSON, terminals, exit codes."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mermed.cli.door import Door
from mermed.cli.half_blocks import half_blocks, letters
from mermed.cli.shard_preview import preview
from mermed.cli.shard_show import show

GOLDEN = Path(__file__).resolve().parents[2] / "shards" / "golden" / "v1"
KEY = "cfp_phantoms-a5e6737cdb3cf271ea3d"


@click.group(cls=Door)
def program():
    pass


program.add_command(show)
program.add_command(preview)


def run(*arguments):
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def test_show_prints_what_is_known_and_writes_the_picture(tmp_path):
    result = run("show", GOLDEN, KEY, "--out", tmp_path / "x.png")
    assert result.exit_code == 0, result.output
    for word in (KEY, "glaucoma", "cfp/test/cfp-test-000000.tar", f"wrote {tmp_path / 'x.png'}"):
        assert word in result.output
    assert "crop" not in result.output
    with Image.open(tmp_path / "x.png") as image:
        assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "RGB")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_show_speaks_json_and_nothing_else(tmp_path):
    shown = json.loads(run("show", GOLDEN, KEY, "--json", "--out", tmp_path / "x.png").stdout)
    assert (shown["key"], shown["labels"], shown["split"]) == (KEY, {"class": "glaucoma"}, "test")
    assert (tmp_path / "x.png").is_file()


def test_a_pipe_gets_no_picture():
    assert "▀" not in run("show", GOLDEN, KEY).output


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_the_picture_in_the_colours_it_has(colour):
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "70", "LINES": "30", "COLORTERM": "truecolor"}
    environment |= {} if colour else {"NO_COLOR": "1"}
    code = f"from mermed.cli.shard_show import show; show([{str(GOLDEN)!r}, {KEY!r}])"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, stdin=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "glaucoma" in text
    assert ("▀" in text) == colour
    assert ("\x1b[38;2;" in text) == colour
    if not colour:
        assert any(line.strip().startswith(("=", "-", ".", ":")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", GOLDEN, "us_phantoms-3c76dd8714785d016e00"], 2, "us_phantoms-3c76dd8714785d016ec2"),
        (["show", GOLDEN, "Not.A.Key"], 4, "breaks the grammar"),
        (["show", GOLDEN, KEY, "--out", "x.jpg"], 2, "ends in .png"),
        (["show", "/nowhere", KEY], 4, "no packed collection"),
        (["preview", "/nowhere", "--out", "x.png"], 4, "no packed collection"),
        (["preview", GOLDEN, "--out", "/nowhere/x.png"], 2, "not there"),
        (["preview", GOLDEN, "--out", "x.png", "--modality", "mri"], 2, "cfp | ct | cxr"),
        (["preview", GOLDEN, "--out", "x.png", "--per-source", "0"], 2, "per-source"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_words(arguments, code, words):
    result = run(*arguments)
    assert result.exit_code == code
    assert words in result.output
    assert not isinstance(result.exception, KeyError | ValueError | OSError)


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "x.png").mkdir()
    result = run("show", GOLDEN, KEY, "--out", tmp_path / "x.png")
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_preview_writes_a_sheet_and_says_what_is_on_it(tmp_path):
    result = run("preview", GOLDEN, "--out", tmp_path / "sheet.png", "--per-source", 2)
    assert result.exit_code == 0, result.output
    assert "20 samples of 10 sources" in result.output
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == 3 * 170 + 10
        assert np.asarray(image).std() > 20


def test_half_blocks_hold_two_pixels_each():
    pixels = np.zeros((5, 3, 3), np.uint8)
    pixels[0, 0], pixels[1, 0] = (255, 0, 0), (0, 0, 255)
    text = half_blocks(Image.fromarray(pixels), 80, 40)
    assert text.plain == "▀▀▀\n" * 3
    style = text.spans[0].style
    assert (style.color.triplet, style.bgcolor.triplet) == ((255, 0, 0), (0, 0, 255))


def test_pictures_fit_the_terminal_and_keep_their_proportions():
    picture = Image.new("L", (400, 100), 255)
    for draw in (half_blocks, letters):
        lines = draw(picture, 40, 100).plain.splitlines()
        assert {len(line) for line in lines} == {40}
        assert len(lines) == 5
        assert len(draw(picture, 1000, 4).plain.splitlines()) == 4
    assert letters(picture, 1, 1).plain == "@\n"
    assert letters(Image.new("L", (4, 4), 0), 4, 4).plain.split() == []


@pytest.mark.parametrize("command", ["show", "preview"])
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys\nfrom click.testing import CliRunner\n"
        f"from mermed.cli.shard_{command} import {command}\n"
        f"assert CliRunner().invoke({command}, ['--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'rich') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_output_of_half_blocks_survives_a_console():
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, force_terminal=True, color_system="truecolor", width=20).print(
        half_blocks(Image.new("RGB", (10, 10), (9, 8, 7)), 20, 20)
    )
    assert "38;2;9;8;7" in buffer.getvalue()
