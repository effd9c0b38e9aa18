"""Sixteen bits from the packed PNG to the view: windows differ by view, and without jitter 8 bits show the same."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mermed.augment.draw import Field
from mermed.batch import Position
from mermed.cli.shard import main
from mermed.config import with_settings
from mermed.stream.decode import Needs
from mermed.stream.loader import Share
from mermed.stream.supply import Supply
from mermed.train.run import open_data
from mermed.train.view_maker import ViewMaker

COUNT = 6


@pytest.fixture(scope="module")
def deep_collection(tmp_path_factory):
    """Smooth X-rays of 16 bits, packed whole; larger than the canvas of the run, and smaller."""
    root = tmp_path_factory.mktemp("deep")
    folder = root / "src" / "cxr" / "waves"
    folder.mkdir(parents=True)
    names = [f"{number}.png" for number in range(20)]
    for number, name in enumerate(names):
        y, x = np.mgrid[: (90, 40)[number % 2], : (70, 44)[number % 2]] / 40.0
        wave = np.sin(1.1 * x + number) + np.cos(0.9 * y - 2 * number)
        Image.fromarray((20000 + 4000 * wave).astype(np.uint16)).save(folder / name)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *((name, "none") for name in names)])
    (root / "salt").write_text("a salt for tests, no secret")
    options = ["--salt-file", str(root / "salt"), "--depth", "16", "--max-bad", "0"]
    result = CliRunner().invoke(main, ["pack", str(root / "src"), "--out", str(root / "packed"), *options])
    assert result.exit_code == 0, result.output
    return root / "packed"


@pytest.fixture
def config(tiny):
    return with_settings(tiny, ["stream.scaled_decode=false", "augment.engine=kornia"])


def canvases(config, data, needs):
    share = Share(range(COUNT), Position(COUNT))
    with (
        Supply(data.plan, data.shards, lambda: [share], config.stream) as supply,
        supply.canvases(batch=COUNT, num_threads=1, needs=needs) as stream,
    ):
        batch = next(stream)
        return replace(batch, pixels=batch.pixels.clone(), size_px=batch.size_px.clone())


def test_views_of_a_deep_image_differ_in_window_and_show_grey(config, deep_collection):
    data = open_data(config, deep_collection)
    views = ViewMaker(config, data, torch.device("cpu"))
    batch = canvases(config, data, views.needs)
    assert batch.window is not None and np.isfinite(batch.window).all()
    made = views(batch)
    assert (made.draws[..., Field.DEEP] == 1).all()
    assert len(np.unique(made.draws[..., Field.WINDOW_LOW])) == COUNT * 4
    mean = made.crops.global_crops * data.normalisation.std[0][0] + data.normalisation.mean[0][0]
    assert mean.std() > 0.05 and mean.min() > -0.3 and mean.max() < 1.3
    torch.testing.assert_close(made.crops.global_crops[:, :, 0], made.crops.global_crops[:, :, 2], atol=2e-2, rtol=0)


def test_without_jitter_sixteen_bits_show_what_eight_do_within_a_grey_level(config, deep_collection):
    data = open_data(config, deep_collection)
    views = ViewMaker(config, data, torch.device("cpu"))
    deep, shallow = canvases(config, data, views.needs), canvases(config, data, Needs())
    assert shallow.window is None
    draws = views(deep).draws.copy()
    draws[..., Field.INVERT] = 0
    draws[..., [Field.BRIGHTNESS, Field.CONTRAST, Field.GAMMA]] = 1
    draws[..., [Field.WINDOW_LOW, Field.WINDOW_HIGH]] = deep.window[:, None]
    flat = draws.copy()
    flat[..., Field.DEEP :] = 0, 0, 1
    std = torch.from_numpy(data.normalisation.std[0])[:, None, None]
    for side in ("global_crops", "local_crops"):
        one, other = (getattr(views._crops(*made), side) * std * 255 for made in ((deep, draws), (shallow, flat)))
        apart = (one - other).abs()
        # eight bits were rounded once by the window and once by the reduction, and a cubic kernel adds a fifth
        assert apart.quantile(0.999) <= 1.0 and apart.max() <= 1.3
        assert one.std() > 20


def test_a_run_without_jitter_of_windows_or_awareness_asks_for_neither(config, deep_collection):
    row = {"cxr": {"like": "cxr", "reason": "a test", "source": "a test", "window_level": 0, "window_width": 0}}
    still = replace(config, augment=replace(config.augment, rows=row))
    assert ViewMaker(still, open_data(still, deep_collection), torch.device("cpu")).needs == Needs()
    us = {"cxr": {"like": "us", "reason": "a test", "source": "a test"}}
    for switch, content in ((True, frozenset({0})), (False, frozenset())):
        aware = replace(config, augment=replace(config.augment, rows=us, foreground=switch))
        views = ViewMaker(aware, open_data(aware, deep_collection), torch.device("cpu"))
        assert views.needs == Needs(content=content)
