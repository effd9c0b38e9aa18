"""The engine is chosen by name; the contact sheet shows what was drawn, what came of it, and how engines differ."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mermed.augment.cpu_crops import CpuCrops
from mermed.augment.dali_crops import DaliCrops
from mermed.augment.difference import difference, difference_picture
from mermed.augment.draw import Field, draw_views, neutral_views, policy_table
from mermed.augment.engine import build_crops
from mermed.augment.extra import extras_of
from mermed.augment.kornia_crops import KorniaCrops
from mermed.augment.sheet import ViewedImage, contact_sheet, difference_texts
from mermed.augment.torch_crops import TorchCrops
from mermed.augment.view_texts import COLUMNS, field_values, parameter_cells, parameter_texts, view_names
from mermed.config import AugmentConfig
from mermed.contract import MODALITIES
from mermed.errors import ConfigError

SETTINGS = {"policy": "medical", "global_px": 96, "local_px": 48, "num_local": 6}
RED_FRAME = [0xD6, 0x27, 0x28]


def test_the_engine_is_the_one_the_config_names(plain):
    config, table = AugmentConfig(**SETTINGS), policy_table("medical", MODALITIES)
    kinds = {"torch": TorchCrops, "kornia": KorniaCrops, "cpu": CpuCrops, "dali": DaliCrops}
    for engine, kind in kinds.items():
        chosen = replace(config, engine=engine)
        assert isinstance(build_crops(chosen, table, plain, 128, torch.device("cpu")), kind)
    with pytest.raises(ConfigError, match="on a GPU"):
        build_crops(replace(config, engine="cpu"), table, plain, 128, torch.device("cuda"))
    unknown = AugmentConfig(**SETTINGS)
    object.__setattr__(unknown, "engine", "paint")
    with pytest.raises(ConfigError, match="paint"):
        build_crops(unknown, table, plain, 128, torch.device("cpu"))


@pytest.fixture
def neutral():
    return neutral_views(np.array([[100, 200]], np.int32), 1)[0, 0]


@pytest.fixture
def busy(neutral):
    """A row of draws in which nothing is neutral."""
    row = neutral
    row[[Field.TOP_PX, Field.LEFT_PX]] = 7, 9
    row[[Field.ANGLE_RAD, Field.FLIP_H, Field.FLIP_V, Field.QUARTER_TURNS]] = np.pi / 6, 1, 1, 3
    row[[Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION, Field.HUE, Field.ORDER]] = 1.1, 0.9, 1.2, -0.02, 23
    row[[Field.GAMMA, Field.INVERT, Field.GRAYSCALE, Field.BLUR_SIGMA_PX, Field.SOLARISE]] = 0.8, 1, 1, 0.7, 1
    row[[Field.HED_SCALE_E, Field.HED_SHIFT_D]] = 1.04, -0.03
    row[[Field.DEEP, Field.WINDOW_LOW, Field.WINDOW_HIGH]] = 1, 0.25, 0.5
    return row


def test_a_neutral_view_is_described_by_its_crop_alone(neutral):
    assert parameter_texts(neutral) == ["100 %", "200 x 100 px"]
    assert parameter_cells(neutral) == {"area": "100 %", "size": "200 x 100 px", "at": "0, 0"}


def test_texts_name_every_parameter_in_the_order_it_is_applied(busy):
    assert parameter_texts(busy)[2:] == [
        "turn +30°",
        "flip hv",
        "quarters 3",
        "window 0.2500 to 0.5000",
        "stain 1.00 1.04 1.00",
        "shift +0.00 +0.00 -0.03",
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


def test_a_table_has_a_column_for_everything_and_keeps_the_order_of_the_jitters(busy):
    cells = parameter_cells(busy)
    assert (*cells, "extra") == COLUMNS, "a parameter without a column would not be shown"
    assert cells["jitter"] == "hue -0.020, sat 1.20, con 0.90, bri 1.10"
    assert (cells["at"], cells["turn"], cells["blur"], cells["invert"]) == ("9, 7", "+30°", "0.7 px", "invert")


def test_extras_are_in_captions_tables_and_numbers(busy):
    extras = extras_of({"sharpness": 0.5, "jpeg": 0.5})
    row = np.append(busy, [1, 0.25, 0, 40]).astype(np.float32)
    assert parameter_texts(row, extras)[-1] == f"{extras[0].name} 0.25"
    assert parameter_cells(row, extras)["extra"] == f"{extras[0].name} 0.25"
    values = field_values(row, extras)
    assert (values[extras[0].name], values[f"{extras[1].name}_on"]) == (0.25, 0.0)


def test_programs_get_every_field_by_name(busy):
    values = field_values(busy)
    assert list(values) == [field.name.lower() for field in Field]
    np.testing.assert_allclose(list(values.values()), busy, atol=1e-6)


def test_global_views_are_named_before_local_ones():
    assert view_names(2, 4) == ["G1", "G2", "L1", "L2"]


def test_a_difference_has_its_mean_its_tail_and_its_sign():
    reference = np.full((3, 20, 20), 100.0, np.float32)
    view = reference + 1.0
    view[:, 0, 0] = 60.0
    found = difference(view, reference)
    assert found.mean == pytest.approx((399 * 1 + 40) / 400)
    assert found.p99_9 == pytest.approx(40.0)
    shown = difference_picture(view, reference)
    assert shown[:, 5, 5].tolist() == [136, 136, 136], "one grey level is amplified eight times"
    assert shown[:, 0, 0].tolist() == [0, 0, 0], "a darker view is darker than middle grey"
    assert (difference_picture(reference, reference) == 128).all()


@pytest.fixture
def viewed(make_canvases, plain):
    """Images of CT and path with their views by these engines: the reference, and ones that are brighter by 3, 6..."""

    def make(*engines):
        canvases = make_canvases([(128, 100), (90, 128)], 128, [1, 5])
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

        def views(image, brighter):
            tensors = [*crops.global_crops[:, image], *crops.local_crops[:, image]]
            return [255.0 * tensor.numpy() + brighter for tensor in tensors]

        return [
            ViewedImage(
                modality=MODALITIES[number],
                slot=image,
                key="key",
                canvas=canvases.pixels[image, :, : size[0], : size[1]].numpy(),
                draws=draws[image],
                num_global=2,
                views={engine: views(image, np.float32(3 * place)) for place, engine in enumerate(engines)},
            )
            for image, (number, size) in enumerate(zip((1, 5), ((128, 100), (90, 128)), strict=True))
        ]

    return make


def _first_views(sheet):
    """The insides of the red frames from top to bottom: each image's first view by each engine, and differences."""
    shown = np.asarray(sheet, np.float64)
    is_red = (shown == RED_FRAME).all(axis=-1)
    left = int(is_red.sum(axis=0)[370:400].argmax()) + 370  # right of the canvas the longest red line is a frame's
    edges = np.flatnonzero(is_red[:, left + 75])  # a frame is two pixels thick, so has four of them
    assert len(edges) % 4 == 0
    return [shown[top + 2 : top + 152, left + 2 : left + 152] for top in edges[::4]]


def test_engines_are_summed_up_with_the_view_that_is_worst(viewed):
    images = viewed("kornia", "cpu")
    images[1].views["cpu"][3][:] += 2.0
    assert difference_texts(images) == ["cpu against kornia: mean 3.12, p99.9 <= 5.0 (path slot 1 L2)"]
    assert difference_texts(viewed("kornia")) == []


def test_a_sheet_has_a_panel_per_image_with_views_in_frames_of_their_own_colours(viewed):
    both = viewed("kornia")
    sheet, single = contact_sheet(both, "medical"), contact_sheet(both[:1], "medical")
    views = _first_views(sheet)
    assert len(views) == 2
    for shown, image in zip(views, both, strict=True):
        expected = image.views["kornia"][0].clip(0, 255).mean(axis=(1, 2))
        np.testing.assert_allclose(shown.mean(axis=(0, 1)), expected, atol=1.5)
    assert single.height < 0.62 * sheet.height and single.width == sheet.width


def test_other_engines_stand_below_the_reference_each_with_its_difference(viewed):
    image = viewed("kornia", "cpu", "torch")[:1]
    shown = _first_views(contact_sheet(image, "three"))
    assert len(shown) == 5
    reference, *others = (part.mean() for part in shown)
    assert others[0] - reference == pytest.approx(3.0, abs=0.7)
    assert others[2] - reference == pytest.approx(6.0, abs=0.7)
    assert (others[1], others[3]) == (pytest.approx(128 + 24), pytest.approx(128 + 48)), "around grey, times eight"
