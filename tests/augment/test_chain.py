"""The slow reference itself: what it must be, before engines are held against it."""

import chain
import numpy as np
import pytest

from mermed.augment.draw import Field, neutral_views


@pytest.fixture
def image(natural):
    return natural(90, 120, 1)


def row_of(image, **fields):
    row = neutral_views(np.array([image.shape[1:]], np.int32), 1)[0, 0]
    for name, value in fields.items():
        row[Field[name]] = value
    return row


def test_a_neutral_row_of_the_same_size_is_the_image(natural):
    image = natural(64, 64, 1)
    np.testing.assert_allclose(chain.torchvision_view(image, row_of(image), 64), image, atol=1e-3)
    np.testing.assert_array_equal(chain.pillow_view(image, row_of(image), 64), image)


def test_a_turn_by_ninety_degrees_is_a_quarter_turn(natural):
    image = natural(64, 64, 1)
    turned = chain.torchvision_view(image, row_of(image, ANGLE_RAD=np.pi / 2), 64)
    np.testing.assert_allclose(turned, np.rot90(image, axes=(1, 2)), atol=0.01)


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({}, 0.6),
        ({"ANGLE_RAD": 0.3}, 1.5),
        ({"ANGLE_RAD": 0.3, "BLACK_CORNERS": 1}, 1.5),
        ({"BLUR_SIGMA_PX": 0.5}, 1.8),
    ],
)
def test_the_two_libraries_agree(image, fields, levels):
    """Pillow turns with a sharper kernel (a = -1), blurs with boxes and shifts hue in 8-bit HSV; else it rounds."""
    crop = {"TOP_PX": 10, "LEFT_PX": 20, "HEIGHT_PX": 70, "WIDTH_PX": 80}
    look = {"BRIGHTNESS": 1.1, "CONTRAST": 0.9, "SATURATION": 1.1, "ORDER": 11, "GAMMA": 1.1, "FLIP_H": 1}
    row = row_of(image, **crop, **look, **fields)
    apart = np.abs(chain.torchvision_view(image, row, 48) - chain.pillow_view(image, row, 48))
    assert apart.mean() < levels


def test_a_deep_image_is_seen_through_its_window(natural):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = np.stack([values >> 8, values & 255, values >> 8]).astype(np.uint8)
    view = chain.torchvision_view(image, row_of(image, DEEP=1, WINDOW_LOW=0.25, WINDOW_HIGH=0.75), 64)
    expected = ((values / 65535 - 0.25) / 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(view, np.repeat(expected[None], 3, 0), atol=0.01)
