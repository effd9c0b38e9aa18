"""mermed-eval from the outside: what it prints, how it refuses."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from mermed.cli.eval import _cell, _print_summary, main


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_help_loads_no_torch():
    program = "import sys\nfrom mermed.cli.eval import main\ntry:\n    main(['run', '--help'])\nfinally:\n"
    program += "    print([name for name in ('torch', 'sklearn', 'numpy', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--feature" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_folder_that_is_no_run_ends_with_the_next_step(tmp_path):
    result = invoke("run", tmp_path, "--shards", tmp_path, "--out", tmp_path / "eval")
    assert result.exit_code == 2
    assert "mermed-train run" in result.output
    assert not (tmp_path / "eval").exists()


def test_an_unknown_feature_is_a_usage_error(tmp_path):
    result = invoke("run", tmp_path, "--shards", tmp_path, "--out", tmp_path / "eval", "--feature", "pixels")
    assert result.exit_code == 2
    assert "patch_mean" in result.output


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        ({"value": 0.7421, "low": 0.69, "high": 0.791}, "0.742\n[dim]0.69-0.79[/]"),
        ({"value": 0.7421, "low": None, "high": None}, "0.742"),
        ({"value": None, "low": None, "high": None}, "n/a"),
    ],
)
def test_a_cell_holds_the_number_and_its_interval(measure, text):
    assert _cell(measure) == text


def test_the_closing_table_has_every_dataset_and_model(capsys):
    numbers = {model: {"auroc": {"value": 0.6, "low": 0.5, "high": 0.7}} for model in ("random", "initial", "teacher")}
    scored = {
        "name": "us/blobs",
        "modality": "us",
        "dataset": "blobs",
        "leak": {"status": "LEAKY"},
        "results": {"knn": numbers, "linear": numbers},
        "reason": "",
    }
    left = {"name": "oct/few", "results": {}, "reason": "no test split"}
    tally = {"better": [], "worse": [], "undecided": ["us/blobs"], "too small": [], "n/a": []}
    nothing = {"value": None, "low": None}
    probe = {
        "tasks_averaged": 1,
        "teacher_against": {"random": tally},
        "mean_auroc": {model: entry["auroc"] for model, entry in numbers.items()},
        "mean_difference": {"teacher - random": nothing},
    }
    overall = {"knn": probe, "linear": probe}
    _print_summary({"tasks": [scored, left], "run": {"images_seen": 10}, "overall": overall})
    printed = capsys.readouterr().out
    for text in (
        "blobs",
        "LEAKY",
        "0.600",
        "0.50-0.70",
        "oct/few: no test split",
        "mean of 1",
        "teacher",
        "initial",
        "random",
    ):
        assert text in printed
