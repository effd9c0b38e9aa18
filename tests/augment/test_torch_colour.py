"""Each colour operation on dense rows against torchvision on the same parameters, and the order they come in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import ORDERS, Field, PolicyTable, neutral_views, policy_table
from mermed.augment.policy import policy_for
from mermed.augment.stain import STAINS
from mermed.augment.torch_colour import Operations, blur_weights, colour, tones
from mermed.contract import MODALITIES
from mermed.errors import ConfigError

GREY_LEVEL = 1 / 255
SIDE_PX = 40
ALL = Operations(stain=True, jitters=(0, 1, 2, 3), gamma=True, invert=True, grayscale=True, blur=True, solarise=True)
JITTERS = {
    Field.BRIGHTNESS: reference.adjust_brightness,
    Field.CONTRAST: reference.adjust_contrast,
    Field.SATURATION: reference.adjust_saturation,
    Field.HUE: reference.adjust_hue,
}


@pytest.fixture
def image(natural):
    return torch.from_numpy(natural(SIDE_PX, SIDE_PX, 3)).float() / 255


@pytest.fixture
def coloured(plain):
    """`image` [3, side, side] in [0, 1] with each row of draws, [rows, 3, side, side]."""

    def apply(image, rows, operations=ALL):
        values = torch.from_numpy(tones(rows[:, None], np.zeros(len(rows), np.int64), plain, operations))
        # (3, side, side) -> (rows, 1, side, 3, side)
        views = (255 * image).transpose(0, 1).expand(len(rows), 1, -1, -1, -1)
        return colour(views, values, operations, product_dtype=torch.float32)[:, 0].transpose(1, 2)

    return apply


def neutral_rows(count):
    return neutral_views(np.full((count, 2), SIDE_PX, np.int32), 1)[:, 0]


@pytest.mark.parametrize(
    ("field", "values", "theirs"),
    [
        (Field.BRIGHTNESS, (0.6, 1.4), reference.adjust_brightness),
        (Field.CONTRAST, (0.6, 1.4), reference.adjust_contrast),
        (Field.SATURATION, (0.2, 1.8), reference.adjust_saturation),
        (Field.HUE, (-0.5, -0.3, 0.02, 0.5), reference.adjust_hue),
        (Field.GAMMA, (0.7, 1.5), reference.adjust_gamma),
        (Field.INVERT, (1,), lambda pixels, _: reference.invert(pixels)),
        (Field.GRAYSCALE, (1,), lambda pixels, _: reference.rgb_to_grayscale(pixels, 3)),
        (Field.SOLARISE, (1,), lambda pixels, _: reference.solarize(pixels, 0.5)),
        (
            Field.BLUR_SIGMA_PX,
            (0.1, 0.8, 2.0),
            lambda pixels, sigma: reference.gaussian_blur(pixels, [25, 25], [sigma]),
        ),
    ],
)
def test_an_operation_agrees_with_torchvision(image, coloured, field, values, theirs):
    rows = neutral_rows(len(values))
    rows[:, field] = values
    for ours, value in zip(coloured(image, rows), values, strict=True):
        torch.testing.assert_close(ours, theirs(image, value), atol=0.01 * GREY_LEVEL, rtol=0)


@pytest.mark.parametrize("jitters", [(0, 1, 2, 3), (0, 1), (1, 3)])
def test_jitter_is_applied_in_each_rows_own_order(image, coloured, jitters):
    rows = neutral_rows(24)
    fields = list(JITTERS)
    drawn = dict(zip(fields, (1.4, 1.4, 0.6, 0.1), strict=True))
    for number in jitters:
        rows[:, fields[number]] = drawn[fields[number]]
    rows[:, Field.ORDER] = np.arange(24)
    views = coloured(image, rows, replace(ALL, jitters=jitters))
    for ours, order, row in zip(views, ORDERS, rows, strict=True):
        theirs = image
        for number in order:
            theirs = JITTERS[fields[number]](theirs, float(row[fields[number]]))
        torch.testing.assert_close(ours, theirs, atol=0.01 * GREY_LEVEL, rtol=0)


def test_hue_agrees_on_every_edge_of_the_colour_cube(coloured):
    steps = torch.linspace(0, 1, 5)
    # 125 colours, grey ones and ties among them, repeated to a square
    colours = torch.cartesian_prod(steps, steps, steps).T
    image = colours.repeat(1, 13)[:, : SIDE_PX**2].reshape(3, SIDE_PX, SIDE_PX)
    rows = neutral_rows(9)
    rows[:, Field.HUE] = np.linspace(-0.5, 0.5, 9)
    for ours, row in zip(coloured(image, rows), rows, strict=True):
        torch.testing.assert_close(ours, reference.adjust_hue(image, float(row[Field.HUE])), atol=1e-5, rtol=0)


def test_rows_without_an_operation_keep_their_values(image, coloured):
    rows = neutral_rows(3)
    rows[1, Field.BRIGHTNESS] = 1.2
    rows[1, Field.BLUR_SIGMA_PX] = 0.7
    ours = coloured(image, rows)
    torch.testing.assert_close(ours[[0, 2]], image.expand(2, -1, -1, -1), atol=1e-6, rtol=0)
    assert (ours[1] - image).abs().mean() > GREY_LEVEL


def test_the_finish_comes_after_the_jitter_and_solarisation_last(image, coloured):
    rows = neutral_rows(1)
    rows[:, [Field.BRIGHTNESS, Field.GAMMA, Field.INVERT, Field.BLUR_SIGMA_PX, Field.SOLARISE]] = 1.3, 0.8, 1, 1.0, 1
    theirs = reference.invert(reference.adjust_gamma(reference.adjust_brightness(image, 1.3), 0.8))
    theirs = reference.solarize(reference.gaussian_blur(theirs, [25, 25], [1.0]), 0.5)
    torch.testing.assert_close(coloured(image, rows)[0], theirs, atol=0.02 * GREY_LEVEL, rtol=0)


def test_a_blur_wider_than_a_tiny_view_stays_finite_and_none_is_the_identity():
    matrix = blur_weights(torch.tensor([[0.5 / 5.0**2, 0.5 / 1e-3**2]]), 8)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 2, 8))
    assert (matrix[0, 0] > 0).all()
    assert torch.equal(matrix[0, 1], torch.eye(8))


def test_stain_jitter_scales_and_shifts_concentrations(image, coloured):
    rows = neutral_rows(2)
    scale, shift = (1.05, 0.95, 1.02), (0.03, -0.04, 0.01)
    rows[0, Field.HED_SCALE_H : Field.HED_SHIFT_D + 1] = *scale, *shift
    density = -np.log(image.double().clamp(min=1 / 255).numpy()).reshape(3, -1).T
    concentration = np.linalg.solve(STAINS.T, density.T).T * scale + shift
    theirs = np.exp(-concentration @ STAINS).T.reshape(image.shape).clip(0, 1)
    ours = coloured(image, rows).numpy()
    np.testing.assert_allclose(ours[0], theirs, atol=1e-5)
    np.testing.assert_allclose(ours[1], image.numpy(), atol=1e-6)


def test_grey_images_stay_grey_under_saturation_and_hue(image, coloured):
    grey = image[:1].expand(3, -1, -1)
    rows = neutral_rows(1)
    rows[:, [Field.SATURATION, Field.HUE]] = 1.4, 0.1
    # the shares of grey sum to 0.9999
    torch.testing.assert_close(coloured(grey, rows)[0], grey, atol=1e-4, rtol=0)


def test_only_what_some_policy_can_draw_is_computed():
    assert Operations.of(policy_table("seed", ["ct"])) == replace(
        ALL, stain=False, gamma=False, invert=False, grayscale=False
    )
    assert Operations.of(policy_table("medical", ["ct", "cxr"])) == replace(
        ALL, stain=False, jitters=(0, 1), grayscale=False, solarise=False
    )
    never = replace(policy_for("medical", "path"), jitter_p=0.0, hed_sigma=0.0, blur_p=(0.0, 0.0, 0.0))
    assert Operations.of(PolicyTable((never,))) == Operations(False, (), False, False, False, False, False)
    assert Operations.of(policy_table("medical", MODALITIES)).stain


@pytest.mark.parametrize(
    ("field", "name"), [(Field.HUE, "hue"), (Field.HED_SHIFT_E, "stain"), (Field.GAMMA, "gamma"), (Field.INVERT, "inv")]
)
def test_draws_that_the_policies_cannot_make_are_refused(field, name):
    rows = neutral_rows(2)[:, None]
    operations = Operations.of(policy_table("medical", ["oct"]))
    operations.check(rows)
    rows[1, 0, field] = 0.5
    with pytest.raises(ConfigError, match=name):
        operations.check(rows)
