"""Each colour operation against torchvision on the same parameters, and the order they come in."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import ORDERS, Field, neutral_views
from mermed.augment.kornia_colour import apply_colour, blur_reach, colour_steps
from mermed.augment.stain import STAINS, stain_maps

GREY_LEVEL = 1 / 255
SIDE_PX = 40


@pytest.fixture
def image(natural):
    return torch.from_numpy(natural(SIDE_PX, SIDE_PX, 3)).float() / 255


def neutral_rows(count):
    return neutral_views(np.full((count, 2), SIDE_PX, np.int32), 1)[:, 0]


def coloured(image, rows, reach_px=6):
    pixels = image.expand(len(rows), -1, -1, -1).clone()
    apply_colour(pixels, rows, reach_px)
    return pixels


JITTERS = {
    Field.BRIGHTNESS: reference.adjust_brightness,
    Field.CONTRAST: reference.adjust_contrast,
    Field.SATURATION: reference.adjust_saturation,
    Field.HUE: reference.adjust_hue,
}


@pytest.mark.parametrize(
    ("field", "values", "theirs"),
    [
        (Field.BRIGHTNESS, (0.6, 1.4), reference.adjust_brightness),
        (Field.CONTRAST, (0.6, 1.4), reference.adjust_contrast),
        (Field.SATURATION, (0.2, 1.8), reference.adjust_saturation),
        (Field.HUE, (-0.3, 0.02, 0.5), reference.adjust_hue),
        (Field.GAMMA, (0.7, 1.5), reference.adjust_gamma),
        (Field.INVERT, (1,), lambda pixels, _: reference.invert(pixels)),
        (Field.GRAYSCALE, (1,), lambda pixels, _: reference.rgb_to_grayscale(pixels, 3)),
        (Field.SOLARISE, (1,), lambda pixels, _: reference.solarize(pixels, 0.5)),
        (
            Field.BLUR_SIGMA_PX,
            (0.1, 0.8, 2.0),
            lambda pixels, sigma: reference.gaussian_blur(pixels, [13, 13], [sigma]),
        ),
    ],
)
def test_an_operation_agrees_with_torchvision(image, field, values, theirs):
    rows = neutral_rows(len(values))
    rows[:, field] = values
    for ours, value in zip(coloured(image, rows), values, strict=True):
        torch.testing.assert_close(ours, theirs(image, value), atol=0.05 * GREY_LEVEL, rtol=0)


def test_jitter_is_applied_in_each_rows_own_order(image):
    rows = neutral_rows(24)
    rows[:, [Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION, Field.HUE]] = 1.4, 1.4, 0.6, 0.1
    rows[:, Field.ORDER] = np.arange(24)
    fields = list(JITTERS)
    for ours, order, row in zip(coloured(image, rows), ORDERS, rows, strict=True):
        theirs = image
        for number in order:
            theirs = JITTERS[fields[number]](theirs, float(row[fields[number]]))
        torch.testing.assert_close(ours, theirs, atol=0.05 * GREY_LEVEL, rtol=0)


def test_rows_without_an_operation_keep_their_bits(image):
    rows = neutral_rows(3)
    assert colour_steps(rows, 3) == []
    rows[1, Field.BRIGHTNESS] = 1.2
    rows[1, Field.BLUR_SIGMA_PX] = 0.7
    ours = coloured(image, rows)
    assert torch.equal(ours[0], image) and torch.equal(ours[2], image) and not torch.equal(ours[1], image)


def test_the_finish_comes_after_the_jitter_and_solarisation_last(image):
    rows = neutral_rows(1)
    rows[:, [Field.BRIGHTNESS, Field.GAMMA, Field.INVERT, Field.BLUR_SIGMA_PX, Field.SOLARISE]] = 1.3, 0.8, 1, 1.0, 1
    theirs = reference.invert(reference.adjust_gamma(reference.adjust_brightness(image, 1.3), 0.8))
    theirs = reference.solarize(reference.gaussian_blur(theirs, [13, 13], [1.0]), 0.5)
    torch.testing.assert_close(coloured(image, rows)[0], theirs, atol=1e-4, rtol=0)


def test_the_kernel_of_a_blur_holds_three_standard_deviations(image):
    assert (blur_reach(1.0), blur_reach(0.7), blur_reach(2.0)) == (3, 3, 6)
    rows = neutral_rows(1)
    rows[:, Field.BLUR_SIGMA_PX] = 1.0
    wide = reference.gaussian_blur(image, [25, 25], [1.0])
    assert (coloured(image, rows, blur_reach(1.0))[0] - wide).abs().mean() < 0.1 * GREY_LEVEL


def test_a_blur_wider_than_a_tiny_view_is_cut_to_its_side(natural):
    tiny = torch.from_numpy(natural(8, 8, 0)).float() / 255
    rows = neutral_rows(1)
    rows[:, Field.BLUR_SIGMA_PX] = 5.0
    assert torch.isfinite(coloured(tiny, rows, 15)).all()


def test_neutral_stain_changes_nothing():
    np.testing.assert_allclose(stain_maps(neutral_rows(2))[:, :, :3], np.stack([np.eye(3)] * 2), atol=1e-6)
    assert (stain_maps(neutral_rows(2))[:, :, 3] == 0).all()


def test_stain_jitter_scales_and_shifts_concentrations(image):
    rows = neutral_rows(1)
    scale, shift = (1.05, 0.95, 1.02), (0.03, -0.04, 0.01)
    rows[:, Field.HED_SCALE_H : Field.HED_SHIFT_D + 1] = *scale, *shift
    density = -np.log(image.double().clamp(min=1 / 255).numpy()).reshape(3, -1).T
    concentration = np.linalg.solve(STAINS.T, density.T).T * scale + shift
    theirs = np.exp(-concentration @ STAINS).T.reshape(image.shape).clip(0, 1)
    np.testing.assert_allclose(coloured(image, rows)[0].numpy(), theirs, atol=1e-5)


def test_more_haematoxylin_darkens_a_nucleus_along_its_own_colour():
    nucleus = torch.from_numpy(np.exp(-0.8 * STAINS[0])).float()[:, None, None].expand(3, SIDE_PX, SIDE_PX)
    rows = neutral_rows(1)
    rows[:, Field.HED_SCALE_H] = 1.5
    darker = -coloured(nucleus, rows)[0, :, 0, 0].log().numpy()
    np.testing.assert_allclose(darker, 1.5 * 0.8 * STAINS[0], atol=1e-5)


def test_grey_images_stay_grey_under_saturation_and_hue(image):
    grey = image[:1].expand(3, -1, -1)
    rows = neutral_rows(1)
    rows[:, [Field.SATURATION, Field.HUE]] = 1.4, 0.1
    torch.testing.assert_close(coloured(grey, rows)[0], grey, atol=1e-5, rtol=0)
