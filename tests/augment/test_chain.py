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
        ({}, 0.4),
        ({"BRIGHTNESS": 1.1}, 0.8),
        ({"CONTRAST": 0.9}, 0.8),
        ({"SATURATION": 1.1}, 0.8),
        ({"HUE": 0.02}, 0.8),
        ({"GAMMA": 1.1}, 0.6),
        ({"ANGLE_RAD": 0.3}, 1.2),
        ({"ANGLE_RAD": 0.3, "BLACK_CORNERS": 1}, 1.2),
        ({"BLUR_SIGMA_PX": 0.5}, 1.2),
    ],
)
def test_the_two_libraries_agree_on_each_operation(image, fields, levels):
    """Pillow cuts values off where torchvision keeps fractions, turns with a sharper kernel, and blurs with boxes."""
    row = row_of(image, TOP_PX=10, LEFT_PX=20, HEIGHT_PX=70, WIDTH_PX=80, FLIP_H=1, **fields)
    apart = np.abs(chain.torchvision_view(image, row, 48) - chain.pillow_view(image, row, 48))
    assert apart.mean() < levels


def test_a_deep_image_is_seen_through_its_window(natural):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = np.stack([values >> 8, values & 255, values >> 8]).astype(np.uint8)
    view = chain.torchvision_view(image, row_of(image, DEEP=1, WINDOW_LOW=0.25, WINDOW_HIGH=0.75), 64)
    expected = ((values / 65535 - 0.25) / 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(view, np.repeat(expected[None], 3, 0), atol=0.01)
