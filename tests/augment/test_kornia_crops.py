"""The reference engine against Pillow and torchvision, and the promises every engine makes."""

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import Field, PolicyTable, draw_views, neutral_views, policy_table
from mermed.augment.geometry import source_maps, view_corners
from mermed.augment.kornia_crops import KorniaCrops, canvas_image, centre_views, sample_views
from mermed.augment.policy import Normalisation, policy_for
from mermed.contract import MODALITIES

SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]
CUBIC = reference.InterpolationMode.BICUBIC


def draw(table, canvases, num_local=3, seed=0):
    return draw_views(
        table,
        seed=seed,
        slot=canvases.slot,
        modality=canvases.modality.numpy(),
        size_px=canvases.size_px.numpy(),
        num_global=2,
        num_local=num_local,
    )


def engine(table, normalisation, device="cpu"):
    settings = {"global_px": 96, "local_px": 48, "num_global": 2, "canvas_px": 128}
    return KorniaCrops(table, normalisation, device=torch.device(device), **settings)


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


@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_what_lies_in_the_padding_never_enters_a_view(make_canvases, plain, preset):
    modality = [0, 3, 5, 6]
    table = policy_table(preset, MODALITIES)
    clean, dirty = (make_canvases(SIZES, 128, modality, padding) for padding in (0, 255))
    draws = draw(table, clean, num_local=6)
    first, second = (engine(table, plain)(canvases, draws) for canvases in (clean, dirty))
    assert torch.equal(first.global_crops, second.global_crops) and torch.equal(first.local_crops, second.local_crops)


def test_only_the_released_rotation_leaves_black_corners(make_canvases):
    canvases = make_canvases(SIZES * 3, 128)
    canvases.pixels.fill_(255)
    for preset, darkest in (("medical", 255), ("released", 0)):
        table = PolicyTable((policy_for(preset, "derm"),))
        assert sampled(canvases, draw(table, canvases), 96).min() == pytest.approx(darkest, abs=1e-3)


@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_an_image_alone_gives_the_views_it_gives_in_a_batch(make_canvases, plain, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, [2, 5, 6, 3])
    draws = draw(table, canvases)
    crops = engine(table, plain)(canvases, draws)
    for b in range(len(SIZES)):
        rows = slice(b, b + 1)
        alone = replace(
            canvases,
            pixels=canvases.pixels[rows],
            size_px=canvases.size_px[rows],
            modality=canvases.modality[rows],
            slot=canvases.slot[rows],
        )
        views = engine(table, plain)(alone, draws[rows])
        torch.testing.assert_close(views.global_crops[:, 0], crops.global_crops[:, b], atol=1e-5, rtol=0)
        torch.testing.assert_close(views.local_crops[:, 0], crops.local_crops[:, b], atol=1e-5, rtol=0)


def test_views_are_the_same_bits_each_time_in_deterministic_mode(make_canvases, plain):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases(SIZES, 128, [2, 5, 6, 3])
    draws = draw(table, canvases)
    before = canvases.pixels.clone()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (engine(table, plain)(canvases, draws) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first.global_crops, second.global_crops) and torch.equal(first.local_crops, second.local_crops)
    assert torch.equal(canvases.pixels, before)


@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_nothing_is_read_back_from_the_device(make_canvases, plain, preset, monkeypatch):
    """A meta tensor has no values, so any read of one by the host raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, [2, 5, 6, 3])
    draws = draw(table, canvases)
    draws[0, :, [Field.INVERT, Field.GRAYSCALE, Field.SOLARISE]] = 1
    crops = engine(table, plain, "meta")(canvases, draws)
    assert crops.global_crops.shape == (2, 4, 3, 96, 96) and crops.local_crops.shape == (3, 4, 3, 48, 48)


def test_each_modality_is_normalised_with_its_own_constants(make_canvases, plain):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases([(128, 128)] * 2, 128, [1, 5])
    draws = draw(table, canvases, num_local=0)
    rng = np.random.default_rng(0)
    constants = Normalisation(
        mean=rng.uniform(0.2, 0.6, (7, 3)).astype(np.float32), std=rng.uniform(0.1, 0.3, (7, 3)).astype(np.float32)
    )
    raw, crops = (engine(table, numbers)(canvases, draws) for numbers in (plain, constants))
    for b, number in enumerate((1, 5)):
        mean, std = (torch.from_numpy(rows[number])[:, None, None] for rows in (constants.mean, constants.std))
        torch.testing.assert_close(crops.global_crops[:, b] * std + mean, raw.global_crops[:, b], atol=1e-5, rtol=0)
    assert crops.local_crops.shape == (0, 2, 3, 48, 48)
    assert crops.modality.tolist() == [1, 5]


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_a_gpu_gives_the_views_of_the_cpu_and_never_makes_the_host_wait(make_canvases, plain, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, [2, 5, 6, 3])
    draws = draw(table, canvases)
    on_gpu = engine(table, plain, "cuda")
    on_gpu(canvases, draws)
    torch.cuda.set_sync_debug_mode("error")
    try:
        theirs = on_gpu(canvases, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    ours = engine(table, plain)(canvases, draws)
    for cpu, gpu in ((ours.global_crops, theirs.global_crops), (ours.local_crops, theirs.local_crops)):
        assert torch.quantile((cpu - gpu.cpu()).abs().flatten()[:1_000_000], 0.999) < 0.5 / 255
