"""The mix on the command line: a file with changes, settings laid over it, and names that are refused."""

import json

import pytest
from click.testing import CliRunner

from mermed.cli.train import main

MIX = """
[weights]
us = 0
[[changes]]
step = 3
weights = { us = 3 }
"""


@pytest.fixture
def plan(collection, tmp_path):
    """Run `mermed-train plan` with the mix file MIX and more options; returns click's result."""
    (tmp_path / "mix.toml").write_text(MIX)

    def invoke(*options):
        command = ["plan", "smoke", "--shards", str(collection), "--mix", str(tmp_path / "mix.toml"), "--json"]
        return CliRunner().invoke(main, [*command, *options])

    return invoke


def _draws(result):
    assert result.exit_code == 0, result.output
    return {entry["source"]: entry["draws"] for entry in json.loads(result.stdout)["sources"]}


def test_a_mix_file_with_a_change_is_planned_at_the_batch_that_the_settings_give(plan):
    settings = ["--set", "train.batch=12", "--set", "queue.rows=56", "--set", "queue.blocks=2"]
    before, after = (_draws(plan(*settings, "--set", f"train.steps={steps}")) for steps in (3, 6))
    assert sum(count for name, count in before.items() if name.startswith("us/")) == 0
    assert sum(before.values()) == 36
    us = sum(count for name, count in after.items() if name.startswith("us/"))
    assert sum(after.values()) == 72
    assert abs(us - 36 * 3 / 9) < 1


def test_settings_are_laid_over_the_file(plan):
    assert not any(name.startswith("ct/") for name in _draws(plan("--set", "mix.drop=ct")))
    assert _draws(plan("--set", "mix.weights.us=1", "--set", "train.steps=1"))


@pytest.mark.parametrize(("setting", "near"), [("mix.weights.uss=2", "did you mean 'us'"), ("mix.drop=oct2", "'oct'")])
def test_a_name_that_is_not_there_ends_the_command_with_the_nearest(plan, setting, near):
    result = plan("--set", setting)
    assert result.exit_code == 2
    assert near in result.stderr
