"""The engine is chosen by name, and the contact sheet shows what was drawn and what came of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from mermed.augment.draw import Field, draw_views, neutral_views, policy_table
from mermed.augment.engine import build_crops
from mermed.augment.kornia_crops import KorniaCrops
from mermed.augment.sheet import parameter_texts, write_sheet
from mermed.config import AugmentConfig
from mermed.contract import MODALITIES
from mermed.errors import ConfigError

SETTINGS = {"policy": "medical", "global_px": 96, "local_px": 48, "num_local": 6}


def test_the_engine_is_the_one_the_config_names(plain):
    config, table = AugmentConfig(**SETTINGS), policy_table("medical", MODALITIES)
    assert isinstance(build_crops(config, table, plain, 128, torch.device("cpu")), KorniaCrops)
    unknown = AugmentConfig(**SETTINGS)
    object.__setattr__(unknown, "engine", "paint")
    with pytest.raises(ConfigError, match="paint"):
        build_crops(unknown, table, plain, 128, torch.device("cpu"))


def test_a_neutral_view_is_described_by_its_crop_alone():
    row = neutral_views(np.array([[100, 200]], np.int32), 1)[0, 0]
    assert parameter_texts(row) == ["100 %", "200 x 100 px"]


def test_texts_name_every_parameter_in_the_order_it_is_applied():
    row = neutral_views(np.array([[100, 200]], np.int32), 1)[0, 0]
    row[[Field.ANGLE_RAD, Field.FLIP_H, Field.FLIP_V, Field.QUARTER_TURNS]] = np.pi / 6, 1, 1, 3
    row[[Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION, Field.HUE, Field.ORDER]] = 1.1, 0.9, 1.2, -0.02, 23
    row[[Field.GAMMA, Field.INVERT, Field.GRAYSCALE, Field.BLUR_SIGMA_PX, Field.SOLARISE]] = 0.8, 1, 1, 0.7, 1
    row[Field.HED_SCALE_E] = 1.04
    assert parameter_texts(row)[2:] == [
        "turn +30°",
        "flip hv",
        "quarters 3",
        "stain 1.00 1.04 1.00",
        "hue -0.020",
        "sat 1.20",
        "con 0.90",
        "bri 1.10",
        "gamma 0.80",
        "invert",
        "grey",
        "blur 0.7 px",
        "solarise",
    ]


def test_a_sheet_has_one_row_per_modality_with_views_in_their_own_colours(make_canvases, plain, tmp_path):
    canvases = make_canvases([(128, 100), (90, 128), (128, 128)], 128, [5, 1, 5])
    table = policy_table("medical", MODALITIES)
    draws = draw_views(
        table,
        seed=0,
        slot=canvases.slot,
        modality=canvases.modality.numpy(),
        size_px=canvases.size_px.numpy(),
        num_global=2,
        num_local=6,
    )
    crops = build_crops(AugmentConfig(**SETTINGS), table, plain, 128, torch.device("cpu"))(canvases, draws)
    path = tmp_path / "views.png"
    described = {"modalities": MODALITIES, "normalisation": plain, "title": "medical"}
    write_sheet(path, canvases, draws, crops, **described)
    with Image.open(path) as sheet:
        shown = np.asarray(sheet.convert("RGB"), np.float64)
    # CT comes first, as in MODALITIES: its first view lies right of the canvas, below title and heading
    view = crops.global_crops[0, 1].numpy().clip(0, 1) * 255
    top, left = next(
        (y, x) for y in range(40, 120) for x in range(370, 400) if (shown[y, x] == [0xD6, 0x27, 0x28]).all()
    )
    inside = shown[top + 2 : top + 152, left + 2 : left + 152]
    np.testing.assert_allclose(inside.mean(axis=(0, 1)), view.mean(axis=(1, 2)), atol=1.5)
    single = tmp_path / "one.png"
    write_sheet(
        single,
        make_canvases([(128, 100)], 128, [5]),
        draws[:1],
        type(crops)(
            global_crops=crops.global_crops[:, :1], local_crops=crops.local_crops[:, :1], modality=crops.modality[:1]
        ),
        **described,
    )
    with Image.open(single) as sheet:
        assert sheet.height < 0.62 * shown.shape[0] and sheet.width == shown.shape[1]
