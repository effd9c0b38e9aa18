"""Crops, flips and turns as matrix products against the slow reference."""

import chain
import numpy as np
import pytest
import torch

from mermed.augment.draw import Field, draw_views, neutral_views, policy_table
from mermed.augment.resample import OVERSAMPLING, Place, grid_side, placements, resample, weights
from mermed.contract import MODALITIES

SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]


def draw(preset, modality, num_views=4, sizes=SIZES, seed=0):
    draws = draw_views(
        policy_table(preset, [modality]),
        seed=seed,
        slot=np.arange(len(sizes)),
        modality=np.zeros(len(sizes), np.int64),
        size_px=np.array(sizes, np.int32),
        num_global=2,
        num_local=num_views - 2,
    )
    return draws


def seen(canvases, draws, side_px, grid_px=None):
    """[batch, views, 3, side, side] in [0, 255]."""
    image = canvases.pixels.transpose(1, 2).float()
    places = torch.from_numpy(placements(draws, side_px=side_px, grid_px=grid_px))
    views = resample(image, places, side_px=side_px, grid_px=grid_px, transposes=True)
    return views.transpose(2, 3).clamp(0, 255).numpy()


def expected(canvases, draws, side_px):
    images = [
        canvases.pixels[b, :, :height, :width].double().numpy()
        for b, (height, width) in enumerate(canvases.size_px.tolist())
    ]
    views = [
        [chain.geometry(image, row, side_px).clip(0, 255) for row in rows]
        for image, rows in zip(images, draws, strict=True)
    ]
    return np.array(views)


@pytest.mark.parametrize("side_px", [96, 48])
@pytest.mark.parametrize("grid_px", [None, 150])
def test_a_view_that_is_not_turned_is_torchvisions_resize_whether_others_are_turned_or_not(
    make_canvases, side_px, grid_px
):
    canvases = make_canvases(SIZES, 128, padding=255)
    draws = draw("medical", "path", num_views=8)
    assert set(draws[..., Field.QUARTER_TURNS].flat) == {0, 1, 2, 3} and draws[..., Field.FLIP_H].any()
    apart = np.abs(seen(canvases, draws, side_px, grid_px) - expected(canvases, draws, side_px))
    assert apart.max() < 0.02


@pytest.mark.parametrize(("preset", "modality"), [("released", "ct"), ("medical", "ct"), ("medical", "derm")])
@pytest.mark.parametrize("side_px", [96, 48])
def test_a_turned_view_is_the_crop_of_the_turned_image(make_canvases, preset, modality, side_px):
    sizes = [(256, 256), (256, 200), (180, 256)]
    canvases = make_canvases(sizes, 256, padding=255)
    draws = draw(preset, modality, num_views=6, sizes=sizes)
    grid_px = grid_side(policy_table(preset, [modality]), side_px)
    apart = np.abs(seen(canvases, draws, side_px, grid_px) - expected(canvases, draws, side_px))
    assert apart.mean() < 1.0
    # the reference blackens whole pixels of the image, so its corners have stairs where ours are smooth
    canvases.pixels.fill_(255)
    white = expected(canvases, draws, side_px)
    assert np.quantile(apart[(white < 1) | (white > 254)], 0.999) < 8.0


@pytest.mark.parametrize("black", [0, 1])
@pytest.mark.parametrize("degrees", [-180, -135, -90, -45, 10, 45, 90, 120])
def test_every_angle_is_met_at_every_shape_of_crop(make_canvases, degrees, black):
    canvases = make_canvases([(200, 200)], 200)
    draws = neutral_views(canvases.size_px.numpy(), 2)
    draws[0, :, Field.TOP_PX : Field.WIDTH_PX + 1] = [[20, 30, 120, 90], [50, 20, 90, 120]]
    draws[..., Field.ANGLE_RAD], draws[..., Field.BLACK_CORNERS] = np.radians(degrees), black
    grid_px = grid_side(policy_table("medical", ["derm"]), 48)
    apart = np.abs(seen(canvases, draws, 48, grid_px) - expected(canvases, draws, 48))
    assert apart.mean() < 0.8


def test_a_turned_crop_whose_view_has_quarter_turns_and_flips_too_is_met(make_canvases):
    canvases = make_canvases([(200, 200)], 200)
    draws = neutral_views(canvases.size_px.numpy(), 8)
    draws[..., Field.TOP_PX : Field.WIDTH_PX + 1] = 40, 30, 120, 100
    draws[..., Field.ANGLE_RAD] = 0.4
    draws[0, :, Field.QUARTER_TURNS], draws[0, 4:, Field.FLIP_H] = np.arange(8) % 4, 1
    apart = np.abs(seen(canvases, draws, 48, 80) - expected(canvases, draws, 48))
    assert apart.mean(axis=(0, 2, 3, 4)).max() < 1.0


def test_only_turns_with_black_corners_darken_a_white_image(make_canvases):
    canvases = make_canvases(SIZES * 3, 128)
    for row, (height, width) in enumerate(SIZES * 3):
        canvases.pixels[row, :, :height, :width] = 255
    for preset, darkest in (("medical", 255.0), ("released", 0.0)):
        draws = draw(preset, "derm", sizes=SIZES * 3)
        assert seen(canvases, draws, 96, 150).min() == pytest.approx(darkest, abs=0.01)


@pytest.mark.parametrize("grid_px", [None, 150])
def test_what_lies_in_the_padding_never_enters_a_view(make_canvases, grid_px):
    clean, dirty = (make_canvases(SIZES, 128, padding=padding) for padding in (0, 255))
    for preset in ("released", "medical") if grid_px else ("seed",):
        draws = draw(preset, "derm", num_views=6)
        np.testing.assert_array_equal(seen(clean, draws, 48, grid_px), seen(dirty, draws, 48, grid_px))


def test_the_weights_of_a_line_sum_to_one_and_end_at_the_crop():
    draws = neutral_views(np.array([[100, 128]], np.int32), 2)
    draws[..., Field.LEFT_PX], draws[..., Field.WIDTH_PX] = 17, 40
    draws[0, 1, Field.FLIP_H] = 1
    places = torch.from_numpy(placements(draws, side_px=32, grid_px=None))
    columns = weights(places, Place.X_START_PX, 32, 128, num_taps=17)
    torch.testing.assert_close(columns.sum(-1), torch.ones(1, 2, 32))
    assert (columns[..., :17] == 0).all() and (columns[..., 57:] == 0).all()
    assert (columns[..., 17:57] != 0).any(dim=2).all()
    torch.testing.assert_close(columns[0, 1], columns[0, 0].flip(0))


def test_the_grid_is_as_small_as_the_widest_turn_allows():
    assert grid_side(policy_table("seed", MODALITIES), 96) is None
    sides = [grid_side(policy_table("medical", [name]), 96) for name in ("ct", "derm")]
    assert 96 < sides[0] < sides[1] == int(np.ceil(96 * OVERSAMPLING * 2**0.5)) + 2
