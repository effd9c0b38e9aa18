"""The geometry of the CPU engine against the slow reference, view by view."""

import chain
import numpy as np
import pytest

from mermed.augment.cpu_view import sample_grids, sample_views, source_image
from mermed.augment.draw import Field, neutral_views

CROP = {"TOP_PX": 30, "LEFT_PX": 40, "HEIGHT_PX": 120, "WIDTH_PX": 140}


@pytest.fixture
def image(natural):
    return natural(200, 240, 1)


def row_of(image, **fields):
    row = neutral_views(np.array([image.shape[1:]], np.int32), 1)[0, 0]
    for name, value in fields.items():
        row[Field[name]] = value
    return row


def sampled(image, row, side_px, *, is_deep=False):
    source = source_image(np.ascontiguousarray(np.moveaxis(image, 0, -1)), is_deep=is_deep)
    levels = sample_views(source, [row.tolist()], sample_grids(row[None, None], [side_px])[0], [side_px])[0]
    return np.broadcast_to(levels, (3, side_px, side_px)) if levels.ndim == 2 else np.moveaxis(levels, -1, 0)


def apart(image, row, side_px):
    return np.abs(sampled(image, row, side_px) - chain.geometry(image, row, side_px).clip(0, 255))


@pytest.mark.parametrize("side_px", [48, 96, 224])
@pytest.mark.parametrize("flips", [{}, {"FLIP_H": 1}, {"FLIP_V": 1}, {"FLIP_H": 1, "FLIP_V": 1}])
@pytest.mark.parametrize("turns", range(4))
def test_an_unturned_view_is_the_reference_but_for_rounding(image, side_px, flips, turns):
    difference = apart(image, row_of(image, QUARTER_TURNS=turns, **flips, **CROP), side_px)
    assert difference.max() <= 2.0 and difference.mean() < 0.4


@pytest.mark.parametrize("side_px", [48, 96, 224])
@pytest.mark.parametrize("black", [0, 1])
@pytest.mark.parametrize("degrees", [-175, -90, -10, 1, 45, 90])
def test_a_turned_view_is_close_to_a_bicubic_turn(image, side_px, black, degrees):
    row = row_of(image, ANGLE_RAD=np.radians(degrees), BLACK_CORNERS=black, **CROP)
    difference = apart(image, row, side_px)
    assert difference.mean() < 1.0 and np.quantile(difference, 0.999) < 10


@pytest.mark.parametrize("flip", ["FLIP_H", "FLIP_V"])
@pytest.mark.parametrize("turns", range(4))
def test_turned_views_are_flipped_and_quarter_turned_like_others(image, flip, turns):
    row = row_of(image, ANGLE_RAD=0.4, QUARTER_TURNS=turns, **{flip: 1}, **CROP)
    assert apart(image, row, 96).mean() < 0.8


def test_a_crop_turned_beyond_the_image_is_mirrored_or_black_as_its_row_says(image):
    image = image // 2 + 100
    whole = {"ANGLE_RAD": 0.6, "HEIGHT_PX": 200, "WIDTH_PX": 240}
    for black in (0, 1):
        row = row_of(image, BLACK_CORNERS=black, **whole)
        assert apart(image, row, 96).mean() < 0.8
        assert (sampled(image, row, 96).min() == 0) == bool(black)


def test_a_large_crop_is_read_at_less_than_its_resolution_and_still_close(natural):
    image = natural(1200, 1200, 1)
    assert apart(image, row_of(image, ANGLE_RAD=0.3), 96).mean() < 1.0


def test_a_grey_image_is_told_from_one_whose_colours_differ_in_one_pixel(natural):
    canvas = np.repeat(natural(40, 40, 1)[1][..., None], 3, axis=-1)
    assert source_image(canvas, is_deep=False).is_grey
    for place in (3, 20):
        coloured = canvas.copy()
        coloured[place, 5, 2] ^= 1
        assert not source_image(coloured, is_deep=False).is_grey


@pytest.mark.parametrize("degrees", [0, 20])
def test_sixteen_bits_keep_what_eight_would_lose(natural, degrees):
    values = 20000 + 8 * natural(120, 120, 1)[0].astype(np.int64)
    image = np.stack([values >> 8, values & 255, 0 * values]).astype(np.uint8)
    low, high = 20000 / 65535, 22040 / 65535
    row = row_of(image, DEEP=1, WINDOW_LOW=low, WINDOW_HIGH=high, ANGLE_RAD=np.radians(degrees))
    # one level of the window is 8 of 65,535
    expected = (chain.geometry(values[None] / 257.0, row, 64)[0] * 257.0 - 20000) / 8
    difference = np.abs(sampled(image, row, 64, is_deep=True)[0] - expected.clip(0, 255))
    assert difference.mean() < (0.3 if degrees else 0.01)


def test_an_image_of_the_size_of_its_view_is_that_image(natural):
    image = natural(64, 64, 1)
    np.testing.assert_array_equal(sampled(image, row_of(image), 64), image)
