"""The colours of the CPU engine against torchvision, operation by operation."""

import chain
import numpy as np
import pytest
import torch

from mermed.augment.cpu_colour import recolour, view_stains, write_view
from mermed.augment.draw import ORDERS, Field, neutral_views

OPERATIONS = {
    "nothing": {},
    "stain": {"HED_SCALE_H": 1.05, "HED_SCALE_E": 0.95, "HED_SHIFT_D": 0.04},
    "brighter": {"BRIGHTNESS": 1.4},
    "darker": {"BRIGHTNESS": 0.6},
    "more contrast": {"CONTRAST": 1.4},
    "less contrast": {"CONTRAST": 0.6},
    "more saturation": {"SATURATION": 1.2},
    "less saturation": {"SATURATION": 0.8},
    "hue up": {"HUE": 0.1},
    "hue down": {"HUE": -0.1},
    "half a turn of hue": {"HUE": -0.5},
    "gamma up": {"GAMMA": 1.25},
    "gamma down": {"GAMMA": 0.8},
    "inversion": {"INVERT": 1},
    "grey": {"GRAYSCALE": 1},
    "solarisation": {"SOLARISE": 1},
}
BLURS = [0.1, 0.5, 1.0, 2.0]


def row_of(**fields):
    row = neutral_views(np.array([[64, 64]], np.int32), 1)[0, 0]
    for name, value in fields.items():
        row[Field[name]] = value
    return row


def levels_of(image):
    return np.ascontiguousarray(np.moveaxis(image, 0, -1)).astype(np.float32)


def recoloured(image, row):
    """[3, side, side] in grey levels, of an image of as many or, for one plane, of one channel."""
    levels = levels_of(image) if len(image) == 3 else image[0].astype(np.float32)
    levels = recolour(levels, row.tolist(), view_stains(row[None])[0])
    planes = np.empty((3, *image.shape[1:]), np.float32)
    write_view(levels, planes, [1.0] * 3, [0.0] * 3)
    return planes


def expected(image, row):
    pixels = torch.from_numpy(np.broadcast_to(image, (3, *image.shape[1:])) / 255.0).float()
    return chain.colour(pixels, row, blur=True).numpy() * 255.0


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_is_torchvisions(natural, name, channels):
    image, row = natural(64, 64, 2)[:channels], row_of(**OPERATIONS[name])
    # torchvision's shares of grey add up to 0.9999, so a grey image darkens a little there and not here
    np.testing.assert_allclose(recoloured(image, row), expected(image, row), atol=0.05)


@pytest.mark.parametrize("sigma_px", BLURS)
def test_a_blur_is_torchvisions_up_to_the_tail_of_its_kernel(natural, sigma_px):
    image, row = natural(64, 64, 2), row_of(BLUR_SIGMA_PX=sigma_px)
    apart = np.abs(recoloured(image, row) - expected(image, row))
    assert apart.mean() < 0.05 and apart.max() < 1.0


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_the_jitters_are_applied_in_the_order_of_the_row(natural, order):
    image = natural(64, 64, 2)
    row = row_of(BRIGHTNESS=1.3, CONTRAST=1.3, SATURATION=1.2, HUE=-0.08, ORDER=order)
    np.testing.assert_allclose(recoloured(image, row), expected(image, row), atol=0.05)


def test_everything_at_once_comes_in_the_order_of_the_reference(natural):
    fields = {"BRIGHTNESS": 1.1, "GAMMA": 1.2, "INVERT": 1, "GRAYSCALE": 1, "BLUR_SIGMA_PX": 0.8, "SOLARISE": 1}
    image, row = natural(64, 64, 2), row_of(**OPERATIONS["stain"], **fields)
    assert np.abs(recoloured(image, row) - expected(image, row)).mean() < 0.1


def test_black_white_and_pure_colours_survive_every_operation():
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    image = np.moveaxis(np.tile(corners, (8, 1)).reshape(8, 8, 3), -1, 0)
    for fields in OPERATIONS.values():
        row = row_of(**fields)
        np.testing.assert_allclose(recoloured(image, row), expected(image, row), atol=0.05)


def test_a_grey_view_stays_one_plane_until_its_stain_colours_it(natural):
    plane = natural(16, 16, 2)[0].astype(np.float32)
    neutral = recolour(plane.copy(), row_of(HUE=0.1, SATURATION=1.2, GRAYSCALE=1).tolist(), None)
    np.testing.assert_array_equal(neutral, plane)
    stained = row_of(**OPERATIONS["stain"])
    assert recolour(plane, stained.tolist(), view_stains(stained[None])[0]).shape == (16, 16, 3)


def test_only_stained_views_have_a_stain():
    rows = np.stack([row_of(), row_of(HED_SHIFT_E=0.01), row_of(HED_SCALE_D=1.01), row_of(HUE=0.1)])
    assert [stain is not None for stain in view_stains(rows)] == [False, True, True, False]
    assert view_stains(rows[[0, 3]]) == [None, None]


def test_a_view_is_written_to_its_planes_scaled_and_shifted(natural):
    levels = levels_of(natural(16, 16, 2))
    planes = np.full((4, 3, 16, 16), 7.0, np.float32)
    write_view(levels.copy(), planes[1], [0.5, 1.0, 2.0], [1.0, 0.0, -1.0])
    write_view(levels[..., 0].copy(), planes[2], [0.5, 1.0, 2.0], [1.0, 0.0, -1.0])
    scale, shift = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
    np.testing.assert_allclose(planes[1], np.moveaxis(levels * scale + shift, -1, 0), rtol=1e-6)
    np.testing.assert_allclose(planes[2], np.moveaxis(levels[..., :1] * scale + shift, -1, 0), rtol=1e-6)
    assert (planes[[0, 3]] == 7.0).all()
