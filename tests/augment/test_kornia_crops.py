"""The geometry of the reference engine against Pillow and torchvision; what it shares with others: test_engines.py."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import draw_for as draw
from engines import build
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import Field, PolicyTable, neutral_views
from mermed.augment.geometry import source_maps, view_corners
from mermed.augment.kornia_crops import canvas_image, centre_views, sample_views
from mermed.augment.policy import policy_for

SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]
CUBIC = reference.InterpolationMode.BICUBIC


def sampled(canvases, draws, side_px, grid_px=128):
    """Geometry alone, in grey levels: [views, batch, 3, side, side]."""
    image = canvas_image(canvases.pixels, canvases.size_px.numpy())
    views = sample_views(image, draws, side_px=side_px, grid_px=grid_px)
    return views.unflatten(0, (draws.shape[1], -1)).numpy() * 255


def valid(canvases, row):
    height, width = canvases.size_px[row].tolist()
    return canvases.pixels[row, :, :height, :width]


def pillow(pixels):
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(pixels), 0, -1)))


def resized_box(image, row, side_px):
    left, top = float(row[Field.LEFT_PX]), float(row[Field.TOP_PX])
    box = (left, top, left + float(row[Field.WIDTH_PX]), top + float(row[Field.HEIGHT_PX]))
    resized = image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    return np.moveaxis(np.asarray(resized, np.float32), -1, 0)


@pytest.mark.parametrize(("side_px", "views"), [(96, slice(0, 2)), (48, slice(2, None))])
def test_a_crop_is_torchvisions_antialiased_bicubic_resize(make_canvases, side_px, views):
    canvases = make_canvases(SIZES, 128)
    table = PolicyTable((replace(policy_for("released", "ct"), rotation_deg=0.0, flip_h_p=0.0),))
    draws = draw(table, canvases, num_local=6)[:, views]
    ours = sampled(canvases, draws, side_px)
    for b, v in np.ndindex(draws.shape[:2]):
        top, left, height, width = draws[b, v, Field.TOP_PX : Field.WIDTH_PX + 1].astype(int)
        crop = valid(canvases, b)[:, top : top + height, left : left + width].float()
        theirs = reference.resize(crop, [side_px, side_px], CUBIC, antialias=True).clamp(0, 255).numpy()
        assert np.abs(ours[v, b] - theirs).mean() < 1.25
        assert np.quantile(np.abs(ours[v, b] - theirs), 0.99) < 10.0


def test_released_rotation_is_pillows_with_black_corners(make_canvases):
    canvases = make_canvases(SIZES, 128)
    draws = draw(PolicyTable((replace(policy_for("released", "ct"), flip_h_p=0.0),)), canvases)
    ours = sampled(canvases, draws, 96)
    for b, v in np.ndindex(draws.shape[:2]):
        degrees = math.degrees(draws[b, v, Field.ANGLE_RAD])
        turned = pillow(valid(canvases, b)).rotate(degrees, Image.Resampling.BICUBIC)
        assert np.abs(ours[v, b] - resized_box(turned, draws[b, v], 96)).mean() < 2.5


def test_medical_rotation_turns_the_crop_about_its_centre_and_mirrors_the_image(make_canvases):
    canvases = make_canvases(SIZES, 128)
    policy = replace(policy_for("medical", "derm"), flip_h_p=0.0, flip_v_p=0.0)
    draws = draw(PolicyTable((policy,)), canvases)
    ours = sampled(canvases, draws, 96)
    for b, v in np.ndindex(draws.shape[:2]):
        row, pad = draws[b, v].copy(), 60
        row[[Field.TOP_PX, Field.LEFT_PX]] += pad
        centre = (row[Field.LEFT_PX] + row[Field.WIDTH_PX] / 2, row[Field.TOP_PX] + row[Field.HEIGHT_PX] / 2)
        mirrored = pillow(np.pad(valid(canvases, b).numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="symmetric"))
        degrees = math.degrees(row[Field.ANGLE_RAD])
        turned = mirrored.rotate(degrees, Image.Resampling.BICUBIC, center=tuple(map(float, centre)))
        assert np.abs(ours[v, b] - resized_box(turned, row, 96)).mean() < 2.5


@pytest.mark.parametrize("turns", range(4))
def test_flips_and_quarter_turns_move_pixels_exactly(make_canvases, turns):
    canvases = make_canvases([(100, 128)], 128)
    draws = neutral_views(canvases.size_px.numpy(), 5)
    draws[0, 1:, Field.QUARTER_TURNS] = turns
    draws[0, [2, 4], Field.FLIP_H] = 1
    draws[0, [3, 4], Field.FLIP_V] = 1
    plain_view, *others = sampled(canvases, draws, 64)[:, 0]
    flipped = plain_view, plain_view[:, :, ::-1], plain_view[:, ::-1], plain_view[:, ::-1, ::-1]
    for ours, theirs in zip(others, flipped, strict=True):
        np.testing.assert_allclose(ours, np.rot90(theirs, turns, axes=(1, 2)), atol=0.02)


def test_source_maps_send_view_corners_to_crop_corners():
    draws = neutral_views(np.array([[100, 200]], np.int32), 1)
    draws[0, 0, [Field.TOP_PX, Field.LEFT_PX, Field.HEIGHT_PX, Field.WIDTH_PX]] = 10, 20, 30, 40
    np.testing.assert_allclose(view_corners(draws)[0, 0], [[20, 10], [60, 10], [60, 40], [20, 40]])
    draws[0, 0, Field.ANGLE_RAD] = math.pi / 2
    assert source_maps(draws).shape == (1, 1, 2, 3)
    # content turned counter-clockwise by 90 degrees: the top left of the view shows the crop's right end
    np.testing.assert_allclose(view_corners(draws)[0, 0, 0], [40 + 15, 25 - 20], atol=1e-6)


def test_only_the_released_rotation_leaves_black_corners(make_canvases):
    canvases = make_canvases(SIZES * 3, 128)
    canvases.pixels.fill_(255)
    for preset, darkest in (("medical", 255), ("released", 0)):
        table = PolicyTable((policy_for(preset, "derm"),))
        assert sampled(canvases, draw(table, canvases), 96).min() == pytest.approx(darkest, abs=1e-3)


@pytest.mark.parametrize("side_px", [64, 160])
def test_the_evaluation_view_is_the_resized_central_square(make_canvases, plain, side_px):
    canvases = make_canvases(SIZES, 128, padding=255)
    views = centre_views(canvases, side_px, plain).numpy() * 255
    for b, (height, width) in enumerate(SIZES):
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = valid(canvases, b)[:, top : top + side, left : left + side].float()
        theirs = reference.resize(square, [side_px, side_px], CUBIC, antialias=True).clamp(0, 255).numpy()
        assert np.abs(views[b] - theirs).mean() < 1.25


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_deep_canvases_are_resampled_in_sixteen_bits_and_then_windowed(natural, angle):
    rng = np.random.default_rng(0)
    values = natural(128, 128, 3)[0] * 200.0 + rng.integers(0, 200, (128, 128))
    high, low = values // 256, values % 256
    canvas = torch.from_numpy(np.stack([high, low, high]).astype(np.uint8))[None]
    size_px = np.array([[128, 128]], np.int32)
    draws = neutral_views(size_px, 2)
    draws[..., [Field.TOP_PX, Field.LEFT_PX, Field.HEIGHT_PX, Field.WIDTH_PX]] = 10, 20, 100, 90
    draws[..., Field.ANGLE_RAD] = angle
    draws[..., Field.DEEP :] = 1, 0.3, 0.5
    draws[0, 1, Field.DEEP :] = 1, 0.5, 0.3
    views = sample_views(canvas_image(canvas, size_px), draws, side_px=48, grid_px=128)
    # the values themselves, in [0, 1], as the image of a row that is not deep
    flat = draws.copy()
    flat[..., Field.DEEP] = 0
    plain = torch.from_numpy(np.stack([values / 65535] * 3)).float()[None]
    share = sample_views(plain, flat, side_px=48, grid_px=128)
    assert ((share > 0.3) & (share < 0.5)).float().mean() > 0.3
    expected = ((share - 0.3) / 0.2).clamp(0, 1)
    torch.testing.assert_close(views[:1], expected[:1], atol=2e-4, rtol=0)
    torch.testing.assert_close(views[1:], 1 - expected[1:], atol=2e-4, rtol=0)


@pytest.mark.parametrize("preset", ["released", "medical"])
def test_views_of_the_thinnest_images_are_whole_and_stay_near_the_values_of_the_image(preset, make_canvases, plain):
    # the rest of each canvas is an image too, brighter, so that a view which reads it shows
    sizes = torch.tensor([(1, 1), (1, 128), (128, 1), (2, 3), (20, 20)], dtype=torch.int32)
    canvases = replace(make_canvases([(128, 128)] * 5, 128), size_px=sizes)
    for row, (height, width) in enumerate(sizes.tolist()):
        canvases.pixels[row, :, :height, :width] //= 4
    still = {"jitter_p": 0.0, "corners": "reflect", "blur_p": (0.0,) * 3}
    table = PolicyTable((replace(policy_for(preset, "us"), **still),))
    made = build("kornia", table, plain)(canvases, draw(table, canvases))
    for crops in (made.global_crops, made.local_crops):
        for row in range(5):
            values, seen = valid(canvases, row) / 255, crops[:, row]
            slack = 0.2 * (values.max() - values.min()) + 1e-5
            assert seen.min() >= values.min() - slack and seen.max() <= values.max() + slack
