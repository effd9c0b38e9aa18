"""Extra transforms: drawn by name without moving any other number, done by the reference engine, refused elsewhere."""

import contextlib
import io

import kornia
import numpy as np
import pytest
import tomli_w
import torch
from engines import build
from PIL import Image
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import NUM_FIELDS, Field, draw_views, neutral_views, policy_table
from mermed.augment.extra import EXTRAS, extra_texts, extras_drawn, extras_of
from mermed.augment.kornia_colour import apply_colour
from mermed.augment.kornia_extra import _TRANSFORMS
from mermed.config import load_run_config, to_mapping, with_settings
from mermed.contract import MODALITIES
from mermed.errors import ConfigError
from mermed.presets import preset

NAMES = [extra.name for extra in EXTRAS]
SIDE_PX = 64


@pytest.fixture
def image(natural):
    return torch.from_numpy(natural(SIDE_PX, SIDE_PX, 3)).float() / 255


def draw(extras, count=500, num_local=2):
    return draw_views(
        policy_table("medical", MODALITIES),
        seed=3,
        slot=np.arange(count),
        modality=np.arange(count) % 7,
        size_px=np.full((count, 2), 200, np.int32),
        num_global=2,
        num_local=num_local,
        extras=extras,
    )


def rows_with(name, magnitudes):
    """One neutral row for each magnitude of one extra, and its description."""
    rows = neutral_views(np.full((len(magnitudes), 2), SIDE_PX, np.int32), 1)[:, 0]
    drawn = np.stack([np.ones(len(magnitudes)), magnitudes], axis=1).astype(np.float32)
    return np.concatenate([rows, drawn], axis=1), extras_of({name: 1.0})


def transformed(image, name, magnitudes):
    rows, extras = rows_with(name, magnitudes)
    pixels = image.expand(len(rows), -1, -1, -1).clone()
    apply_colour(pixels, rows, 3, extras)
    return pixels


def test_an_extra_moves_no_other_number_and_the_order_of_names_does_not_matter():
    without, one = draw(None), draw({"jpeg": 0.5})
    both, turned = draw({"jpeg": 0.5, "sharpness": 0.2}), draw({"sharpness": 0.2, "jpeg": 0.5})
    np.testing.assert_array_equal(one[..., :NUM_FIELDS], without)
    np.testing.assert_array_equal(both, turned)
    sharpness, jpeg = np.moveaxis(extras_drawn(both, extras_of({"jpeg": 1.0, "sharpness": 1.0})), 2, 0)
    np.testing.assert_array_equal(jpeg, extras_drawn(one, extras_of({"jpeg": 1.0}))[:, :, 0])
    assert abs(np.corrcoef(sharpness[..., 0].ravel(), jpeg[..., 0].ravel())[0, 1]) < 0.06


@pytest.mark.parametrize("extra", EXTRAS, ids=NAMES)
def test_an_extra_is_drawn_as_often_and_as_far_as_it_says(extra):
    rows = draw({extra.name: 0.3}, 2000)
    is_on, magnitude = np.moveaxis(extras_drawn(rows, [extra])[:, :, 0], -1, 0)
    assert is_on.mean() == pytest.approx(0.3, abs=0.02)
    assert (magnitude[is_on == 0] == 0).all()
    drawn = magnitude[is_on == 1]
    if extra.whole:
        counts = np.unique_counts(drawn)
        assert counts.values.tolist() == list(range(int(extra.low), int(extra.high) + 1))
        assert stats.chisquare(counts.counts).pvalue > 1e-3
    else:
        assert stats.kstest(drawn, "uniform", args=(extra.low, extra.high - extra.low)).pvalue > 1e-3


def by_pillow(pixels, transform):
    picture = Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(transform(picture))).permute(2, 0, 1) / 255


def jpeg_file(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file)


@pytest.mark.parametrize(
    ("name", "magnitude", "theirs", "levels"),
    [
        ("equalize", 1.0, lambda x: by_pillow(x, lambda p: reference.equalize(p)), 1.0),
        ("equalize", 0.25, lambda x: 0.75 * x + 0.25 * kornia.enhance.equalize(x), 0.01),
        ("clahe", 2, lambda x: kornia.enhance.equalize_clahe(x, 2.0, (4, 4)), 0.01),
        ("sigmoid", 5, lambda x: torch.sigmoid(5 * (x - 0.5)), 0.01),
        ("posterize", 4, lambda x: reference.posterize((x * 255).round().byte(), 4) / 255, 0.01),
        ("sharpness", 1.7, lambda x: reference.adjust_sharpness(x, 1.7), 0.01),
        ("sharpness", 1.0, lambda x: x, 0.01),
        ("jpeg", 60.0, lambda x: by_pillow(x, jpeg_file), 3.0),
    ],
)
def test_an_extra_is_the_transform_it_is_named_after(image, name, magnitude, theirs, levels):
    assert (transformed(image, name, [magnitude])[0] - theirs(image)).abs().mean() * 255 < levels


def test_blurs_go_along_their_direction_and_stop_at_edges(image):
    along, across = transformed(image, "motion_blur", [0.0, 90.0])
    assert (along.diff(dim=2).abs().mean() < 0.8 * image.diff(dim=2).abs().mean()) and (
        across.diff(dim=1).abs().mean() < 0.8 * image.diff(dim=1).abs().mean()
    )
    step = torch.zeros_like(image)
    step[:, :, SIDE_PX // 2 :] = 0.8
    torch.testing.assert_close(transformed(step, "bilateral_blur", [2])[0], step, atol=0.01, rtol=0)


@pytest.mark.parametrize("extra", EXTRAS, ids=NAMES)
def test_a_row_has_its_own_magnitude_whatever_the_batch(image, extra):
    magnitudes = np.linspace(extra.low, extra.high, 4)[[2, 0, 3, 1]]
    magnitudes = magnitudes.round() if extra.whole else magnitudes
    together = transformed(image, extra.name, magnitudes)
    assert torch.isfinite(together).all() and together.min() >= -1e-6 and together.max() <= 1 + 1e-6
    for place, magnitude in enumerate(magnitudes):
        alone = transformed(image, extra.name, [magnitude])[0]
        torch.testing.assert_close(together[place], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_extras_come_after_the_grey_and_before_the_blur_on_the_rows_that_have_them(image):
    rows, extras = rows_with("posterize", [4, 4])
    rows[1, -2] = 0
    rows[:, [Field.GRAYSCALE, Field.BLUR_SIGMA_PX]] = 1, 0.7
    ours = image.expand(2, -1, -1, -1).clone()
    apply_colour(ours, rows, 3, extras)
    grey = reference.rgb_to_grayscale(image, 3)
    for row, start in zip(ours, (kornia.enhance.posterize(grey, 4), grey), strict=True):
        apart = (row - reference.gaussian_blur(start, [7, 7], [0.7, 0.7])).abs().mean() * 255
        assert apart < 0.1, "what lies at a step of the grey values may fall to either side"


def test_the_reference_engine_does_what_was_drawn(make_canvases, plain):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases([(128, 128)] * 3, 128, [1, 5, 3])
    settings = {"seed": 0, "num_global": 2, "num_local": 3, "slot": canvases.slot}
    settings |= {"modality": canvases.modality.numpy(), "size_px": canvases.size_px.numpy()}
    draws = draw_views(table, extras={"posterize": 0.5}, **settings)
    ours = build("kornia", table, plain, extra={"posterize": 0.5})(canvases, draws)
    bare = build("kornia", table, plain)(canvases, draws)
    is_on = draws[:, :2, -2].T.astype(bool)
    assert is_on.any() and not is_on.all()
    same = torch.isclose(ours.global_crops, bare.global_crops).flatten(2).all(dim=2).numpy()
    np.testing.assert_array_equal(same, ~is_on)


@pytest.mark.parametrize("name", NAMES)
def test_no_extra_is_read_back_from_the_device(make_canvases, plain, name, monkeypatch):
    """A meta tensor has no values, so any read of one by the host raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases([(128, 128)] * 3, 128)
    draws = draw_views(
        table,
        seed=0,
        slot=canvases.slot,
        modality=canvases.modality.numpy(),
        size_px=canvases.size_px.numpy(),
        num_global=2,
        num_local=3,
        extras={name: 1.0},
    )
    build("kornia", table, plain, extra={name: 1.0}, device="meta")(canvases, draws)


def test_what_was_drawn_is_told_in_words():
    rows, extras = rows_with("jpeg", [61.25, 70.0])
    rows[1, -2] = 0
    assert [extra_texts(row, extras) for row in rows] == [["jpeg 61.2"], []]


def test_every_extra_of_the_list_has_its_transform():
    assert list(_TRANSFORMS) == NAMES


def test_extras_are_settings_of_a_run_and_survive_its_file():
    config = with_settings(preset("smoke"), ["augment.extra.sharpness=0.2", "augment.extra.jpeg=0.1"])
    assert config.augment.extra == {"sharpness": 0.2, "jpeg": 0.1}
    assert load_run_config(tomli_w.dumps(to_mapping(config))) == config


@pytest.mark.parametrize(
    ("name", "extra", "answer"),
    [
        ("kornia", {"sharpnes": 0.1}, r"did you mean 'augment\.extra\.sharpness'"),
        ("kornia", {"rain": 0.1}, r"expected  equalize \| clahe"),
        ("kornia", {"jpeg": 1.5}, r"where     setting augment\.extra\.jpeg\n  expected  0 to 1"),
        ("cpu", {"jpeg": 0.5}, r"next      --set augment\.engine=kornia"),
    ],
)
def test_extras_that_cannot_be_are_refused_with_the_next_step(plain, name, extra, answer):
    with pytest.raises(ConfigError, match=answer):
        build(name, policy_table("medical", MODALITIES), plain, extra=extra)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("extra", EXTRAS, ids=NAMES)
def test_on_a_gpu_no_extra_makes_the_host_wait(image, extra):
    rows, extras = rows_with(extra.name, [extra.low, extra.high])
    pixels = image.expand(2, -1, -1, -1).cuda()
    apply_colour(pixels.clone(), rows, 3, extras)
    ours = pixels.clone()
    torch.cuda.set_sync_debug_mode("error")
    try:
        apply_colour(ours, rows, 3, extras)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    apart = (ours.cpu() - transformed(image, extra.name, [extra.low, extra.high])).abs().mean() * 255
    assert apart < 0.1
