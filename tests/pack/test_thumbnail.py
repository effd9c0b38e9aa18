"""Thumbnails: any picture, small, the same every time."""

import io
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from mermed.pack.pixels.thumbnail import thumbnail


def shown(pixels, **options):
    with Image.open(io.BytesIO(thumbnail(pixels, **options))) as image:
        assert image.format == "JPEG"
        return np.asarray(image)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]
)
def test_a_ramp_of_any_type_shows_from_black_to_white(dtype):
    levels = np.linspace(0, 1, 400) if dtype != "bool" else np.arange(400) >= 200
    scale = {"bool": 1, "float16": 1000.0}.get(dtype) or (
        255 if dtype == "uint8" else 127 if dtype == "int8" else 30_000
    )
    ramp = np.broadcast_to((levels * scale).astype(dtype), (300, 400))
    seen = shown(ramp)
    assert seen.shape == (72, 96)
    assert seen[:, 0].max() < 12
    assert seen[:, -1].min() > 243
    assert (np.diff(seen[36].astype(int)) >= -6).all()


def test_8_bit_pictures_keep_their_grey_and_their_colours():
    assert np.abs(shown(np.full((64, 64), 90, np.uint8)).astype(int) - 90).max() <= 1
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    seen = shown(red)
    assert seen.shape == (64, 64, 3)
    assert seen[..., 0].min() > 190
    assert seen[..., 1:].max() < 15


def test_outliers_do_not_take_the_range():
    values = np.tile(np.linspace(0, 1000, 100, dtype=np.float32), (100, 1))
    values[0, 0], values[1, 1] = 1e9, -1e9
    seen = shown(values)
    assert seen[:, -1].min() > 243
    assert 100 < seen[50, 48] < 155


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_black(value):
    values = np.tile(np.linspace(0, 1, 64), (64, 1))
    values[:, 48:] = value
    seen = shown(values)
    assert seen[:, 52:].max() < 15
    assert seen[:, 40].min() > 150
    assert not shown(np.full((8, 8), value)).any()


def test_the_ends_of_float64_do_not_overflow():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = shown(np.array([[-1.7e308, 1.7e308]] * 40).repeat(20, axis=1))
    assert (seen[20, 4] < 15, seen[20, -4] > 240) == (True, True)


def test_a_constant_picture_and_a_single_bright_dot_are_shown():
    assert shown(np.full((40, 40), 1234, np.uint16)).max() == 0
    dot = np.zeros((40, 40), np.uint16)
    dot[16:18, 16:18] = 9
    assert shown(dot)[16:18, 16:18].min() > 150


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 700), (0, 4), (7, 5, 3), (500, 400, 1)])
def test_any_shape_fits_into_the_square(shape):
    seen = shown(np.ones(shape, np.uint8))
    assert max(seen.shape[:2]) <= 96
    assert seen.shape[0] <= max(shape[0], 1)


def test_a_shape_that_is_no_picture_is_refused():
    for shape in ((4,), (2, 3, 4), (2, 2, 2, 3)):
        with pytest.raises(ValueError, match="expected"):
            thumbnail(np.zeros(shape, np.uint8))


def test_equal_pixels_give_equal_bytes_whatever_their_layout():
    pixels = np.random.default_rng(0).integers(0, 4096, (333, 517), dtype=np.uint16)
    assert thumbnail(pixels) == thumbnail(np.asfortranarray(pixels)) == thumbnail(pixels.copy())
    assert thumbnail(pixels) != thumbnail(pixels[::-1])


def test_the_side_can_be_chosen():
    assert max(shown(np.ones((500, 300), np.uint8), side_px=40).shape) == 40


def test_a_thumbnail_is_cheap():
    picture = np.random.default_rng(0).integers(0, 4096, (1024, 1024), dtype=np.uint16)
    took = []
    for _ in range(15):
        begin = time.perf_counter()
        thumbnail(picture)
        took.append(time.perf_counter() - begin)
    # A bound a busy machine keeps too; skipping nothing takes 30 ms and more.
    assert min(took) < 0.01
