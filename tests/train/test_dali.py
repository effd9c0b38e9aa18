"""Training with DALI: the samples of every step are those that our own decoder would have given."""

import pytest

from mermed.config import with_settings
from mermed.train.meters import read_metrics

pytest.importorskip("nvidia.dali")


def _trace(tiny, start, folder, *settings):
    # DALI decodes whole, and the size on the canvas, which the audit counts, may differ by a pixel from a scaled one
    fixed = ["train.steps=3", "augment.policy=medical", "augment.foreground=false", "stream.scaled_decode=false"]
    start(with_settings(tiny, [*fixed, *settings]), folder)
    lines = read_metrics(folder)
    return [line["audit"] for line in lines], [line["loss"] for line in lines]


def test_a_run_whose_images_or_whose_views_dali_makes_meets_the_same_keys(tiny, start, tmp_path):
    audits, losses = _trace(tiny, start, tmp_path / "threads")
    for name, setting in (("decoder", "stream.decoder=dali"), ("engine", "augment.engine=dali")):
        others, other_losses = _trace(tiny, start, tmp_path / name, setting)
        assert others == audits
        assert other_losses == pytest.approx(losses, abs=0.05) and other_losses != losses
