"""Images decoded at a lower scale still hold every pixel their views need, also where crops are taken by content."""

import numpy as np
import pytest
import torch

from mermed.augment.draw import Field
from mermed.batch import EncodedBatch, Position
from mermed.config import with_settings
from mermed.contract import SampleMeta
from mermed.stream.image import _dct_factor, fitted
from mermed.train.intake import _enough
from mermed.train.run import open_data
from mermed.train.view_maker import ViewMaker

COUNT, SIDE_PX, CANVAS_PX = 60, 1000, 512


@pytest.fixture
def config(tiny):
    return with_settings(tiny, [f"stream.canvas_px={CANVAS_PX}", "augment.global_px=64", "augment.local_px=24"])


def encoded(modality, number):
    known = {"dataset": "d", "split": "train", "group": "g", "source_bits": 8, "height": SIDE_PX, "width": SIDE_PX}
    return EncodedBatch(
        images=(b"",) * COUNT,
        meta=tuple(SampleMeta(key=f"k{row}", modality=modality, **known) for row in range(COUNT)),
        modality=np.full(COUNT, number),
        slot=np.arange(COUNT),
        position=Position(COUNT),
    )


@pytest.mark.parametrize("modality", ["us", "ct", "cfp"])
@pytest.mark.parametrize("is_aware", [True, False])
def test_no_view_is_enlarged_by_a_scaled_decode(config, collection, modality, is_aware):
    config = with_settings(config, [f"augment.foreground={str(is_aware).lower()}"])
    data = open_data(config, collection)
    views = ViewMaker(config, data, torch.device("cpu"))
    batch = encoded(modality, data.manifest.modalities.index(modality))
    enough = _enough(config, views)(batch)
    assert (enough == CANVAS_PX).all() if is_aware and modality != "cfp" else (enough < CANVAS_PX).mean() > 0.5
    factors = [_dct_factor(SIDE_PX, min(int(side), CANVAS_PX)) for side in enough]
    sides = [fitted(-(-SIDE_PX // factor), -(-SIDE_PX // factor), CANVAS_PX) for factor in factors]
    content = np.random.default_rng(0).random((COUNT, 16, 16)) < 0.2
    draws = views.draw(
        slot=batch.slot,
        modality=batch.modality,
        size_px=np.array(sides, np.int32),
        content=content if views.needs.content else None,
    )
    shorter = np.minimum(draws[..., Field.HEIGHT_PX], draws[..., Field.WIDTH_PX])
    # a pixel less than the view may come of rounding the crop on the smaller canvas
    assert (shorter[:, :2] >= 64 - 1).all() and (shorter[:, 2:] >= 24 - 1).all()
