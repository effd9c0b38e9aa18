"""mermed-train plan: what it prints for people, on a wide terminal and without one, and what it prints for machines."""

import io
import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from mermed.cli.train import main
from mermed.cli.train_plan import print_outlook
from mermed.config import with_settings
from mermed.presets import preset
from mermed.stream.outlook.outlook import Machines, outlook


@pytest.fixture
def facts(collection):
    machines = Machines(nodes=3, gpus_per_node=2, gpu_images_per_s=50.0, core_images_per_s=100.0)
    return outlook(with_settings(preset("smoke"), ["stream.cache_dir=/cache"]), collection, machines)


def _printed(facts, **terminal):
    file = io.StringIO()
    print_outlook(facts, Console(file=file, **terminal))
    return file.getvalue()


def test_rates_world_and_advice_are_printed(facts):
    text = _printed(facts, width=120)
    assert "6 GPUs on 3 nodes: 300 images/s, the run takes 0.1 min" in text
    assert "decoding keeps 1.0 cores of each node busy" in text
    assert "! a batch of 28 does not divide over 6 ranks: set train.batch=24 or 30" in text
    assert "leaves the store" not in text, "a local folder has no egress"


def test_a_remote_store_shows_its_egress_and_the_cache_it_needs(facts):
    text = _printed(facts | {"remote": True}, width=120)
    assert "leaves the store: " in text
    assert "cache of a node: the windows need " in text


def test_no_terminal_and_twenty_columns_cut_no_sentence(facts):
    text = _printed(facts, width=20, no_color=True)
    assert "\x1b" not in text
    assert "6 GPUs on 3 nodes: 300 images/s, the run takes 0.1 min" in text
    assert facts["first_keys"][-1] in text


def test_machines_are_given_on_the_command_line(collection):
    options = ["--nodes", "2", "--gpus-per-node", "7", "--images-per-s", "10", "--json"]
    result = CliRunner().invoke(main, ["plan", "smoke", "--shards", str(collection), *options])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["world"] == {"nodes": 2, "gpus_per_node": 7, "ranks": 14, "images_per_rank": 2.0}
    assert facts["rates"]["images_per_s"] == 140.0
    assert facts["advice"] == []
