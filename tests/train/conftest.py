"""A run small enough to repeat many times."""

import io

import pytest
import torch
from rich.console import Console

from mermed.config import with_settings
from mermed.presets import preset
from mermed.world import World

TINY = [
    "model.encoder=test_vit",
    "model.head_hidden=32",
    "model.embedding=16",
    "stream.canvas_px=48",
    "stream.num_threads=2",
    "augment.global_px=48",
    "augment.local_px=32",
    "augment.num_local=2",
    "queue.rows=56",
    "queue.blocks=2",
    "train.batch=14",
    "train.steps=8",
    "train.log_every=1",
    "train.checkpoint_every=1",
    "train.keep_last=100",
    "train.device=cpu",
]


@pytest.fixture(autouse=True)
def _torch_settings():
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_settings():
    """The settings of a tiny run, as the command line takes them."""
    return TINY


@pytest.fixture
def tiny():
    """The settings of a tiny run, as a RunConfig."""
    return with_settings(preset("smoke"), TINY)


@pytest.fixture
def quiet():
    return Console(file=io.StringIO())


@pytest.fixture
def start(collection, quiet):
    """Train from scratch into a folder; returns the outcome."""

    def run(config, folder):
        from mermed.train.loop import train
        from mermed.train.run import begin_folder, open_data

        data = open_data(config, collection)
        begin_folder(folder, config, data)
        return train(config, data, folder, World(), quiet, resume=False)

    return run


@pytest.fixture
def go_on(collection, quiet):
    """Resume a folder; returns the outcome."""

    def run(folder, shards=None):
        from mermed.train.loop import train
        from mermed.train.run import open_data, reopen_folder

        config, location = reopen_folder(folder, shards)
        return train(config, open_data(config, location), folder, World(), quiet, resume=True)

    return run
