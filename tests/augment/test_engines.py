"""The promises every engine makes: same draws, same views as the slow reference, whatever the batch, on any input."""

import contextlib
import functools
import itertools
from dataclasses import replace

import chain
import numpy as np
import pytest
import torch
from drawn import draw_for as draw
from drawn import rows_of
from engines import ENGINES, ON_TORCH, build
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.augment.draw import Field, PolicyTable, neutral_views, policy_table
from mermed.augment.policy import Normalisation
from mermed.contract import MODALITIES

PRESETS = ("seed", "released", "medical")
SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]
SOME = [2, 5, 6, 3]
"""Modalities of the four images: X-ray, pathology, ultrasound and skin have the operations that differ most."""
BIG_SIZES = [(256, 256), (256, 180), (150, 256), (120, 120), (256, 200), (200, 256), (256, 256)]
BIG = {"global_px": 112, "local_px": 48, "canvas_px": 256}

every_engine = pytest.mark.parametrize("name", ENGINES)
every_preset = pytest.mark.parametrize("preset", PRESETS)
every_table = pytest.mark.parametrize("preset", (*PRESETS, "rare"))


def table_of(preset):
    """The policies of a preset; `rare` is `medical` with what the presets hardly ever do in every second view."""
    if preset != "rare":
        return policy_table(preset, MODALITIES)
    rare = {"invert_p": 0.5, "grayscale_p": 0.5, "solarise_p": (0.5,) * 3, "gamma": (0.7, 1.4)}
    return PolicyTable(tuple(replace(policy, **rare) for policy in policy_table("medical", MODALITIES).policies))


def cut(canvases, sizes):
    """The same canvases of which less is valid; what lay there is now padding."""
    return replace(canvases, size_px=torch.tensor(sizes, dtype=torch.int32))


def levels(crops):
    """Every view in grey levels, in the order of the draws: a list of [batch, 3, side, side]."""
    return [view.numpy() * 255 for view in (*crops.global_crops, *crops.local_crops)]


def same_bits(first, second):
    return torch.equal(first.global_crops, second.global_crops) and torch.equal(first.local_crops, second.local_crops)


@pytest.fixture(scope="module")
def worked(make_canvases):
    """One image of each modality with its draws and its views by torchvision and by Pillow, for each preset."""

    @functools.cache
    def work(preset):
        table = table_of(preset)
        canvases = make_canvases(BIG_SIZES, BIG["canvas_px"], range(7))
        draws = draw(table, canvases)
        images = [canvases.pixels[b, :, :h, :w].numpy() for b, (h, w) in enumerate(BIG_SIZES)]
        sides = [BIG["global_px"]] * 2 + [BIG["local_px"]] * 3
        views = {
            reference: [
                np.stack([reference(image, draws[b, v], side) for b, image in enumerate(images)])
                for v, side in enumerate(sides)
            ]
            for reference in (chain.torchvision_view, chain.pillow_view)
        }
        return table, canvases, draws, views

    return work


def apart(ours, theirs, image):
    """Grey levels between two sets of views of one image, all views together."""
    return np.concatenate(
        [np.abs(first[image] - second[image]).ravel() for first, second in zip(ours, theirs, strict=True)]
    )


def off_the_rim(draws, views, image):
    """Which values of an image's views lie off the rim of black corners, in the order of `apart`."""
    return np.concatenate(
        [
            np.broadcast_to(~chain.rim(draws[image, v], view.shape[-1]), view.shape[1:]).ravel()
            for v, view in enumerate(views)
        ]
    )


@every_table
@every_engine
def test_views_are_those_of_torchvision_on_floats(worked, plain, name, preset):
    table, canvases, draws, views = worked(preset)
    ours = levels(build(name, table, plain, **BIG)(canvases, draws))
    for image, modality in enumerate(MODALITIES):
        difference = apart(ours, views[chain.torchvision_view], image)
        inside = off_the_rim(draws, ours, image)
        assert inside.mean() > 0.95, "the rim is thin"
        assert difference.mean() < 1.5, modality
        assert np.quantile(difference[inside], 0.999) < 10, modality


@every_table
@every_engine
def test_views_are_as_near_to_pillows_as_torchvisions_are(worked, plain, name, preset):
    """Pillow rounds after each operation and blurs with boxes: that alone is 1 to 2 grey levels."""
    table, canvases, draws, views = worked(preset)
    ours = levels(build(name, table, plain, **BIG)(canvases, draws))
    for image, modality in enumerate(MODALITIES):
        inside = off_the_rim(draws, ours, image)
        difference = apart(ours, views[chain.pillow_view], image)
        libraries = apart(views[chain.torchvision_view], views[chain.pillow_view], image)
        assert difference.mean() < libraries.mean() + 0.5, modality
        assert np.quantile(difference[inside], 0.999) < max(10, np.quantile(libraries[inside], 0.999) + 2), modality


@every_table
def test_engines_agree_with_each_other(worked, plain, preset):
    table, canvases, draws, _ = worked(preset)
    views = {name: levels(build(name, table, plain, **BIG)(canvases, draws)) for name in ENGINES}
    for one, other in itertools.combinations(ENGINES, 2):
        for image, modality in enumerate(MODALITIES):
            assert apart(views[one], views[other], image).mean() < 1.5, (one, other, modality)


@every_preset
@every_engine
def test_an_image_has_the_same_views_alone_and_in_any_order(make_canvases, plain, name, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, SOME)
    draws = draw(table, canvases)
    engine = build(name, table, plain)
    together = levels(engine(canvases, draws))
    for rows in ([0], [1], [2], [3], [2, 0, 3, 1]):
        some = levels(engine(rows_of(canvases, rows), draws[rows]))
        assert max(np.abs(a[rows] - b).max() for a, b in zip(together, some, strict=True)) < 0.003


@every_preset
@every_engine
def test_what_lies_in_the_padding_never_enters_a_view(make_canvases, plain, name, preset):
    table = policy_table(preset, MODALITIES)
    clean, dirty = (make_canvases(SIZES, 128, SOME) for _ in range(2))
    noise = torch.randint(0, 256, dirty.pixels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for row, (height, width) in enumerate(SIZES):
        noise[row, :, :height, :width] = dirty.pixels[row, :, :height, :width]
    draws = draw(table, clean, num_local=6)
    engine = build(name, table, plain, num_local=6)
    assert same_bits(engine(clean, draws), engine(replace(dirty, pixels=noise), draws))


@every_preset
@every_engine
def test_a_second_call_gives_the_same_bits_and_nothing_it_was_given_is_changed(make_canvases, plain, name, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, SOME)
    draws = draw(table, canvases)
    before = canvases.pixels.clone(), canvases.size_px.clone(), draws.copy()
    engine = build(name, table, plain)
    torch.use_deterministic_algorithms(True)
    try:
        first, again, anew = (
            engine(canvases, draws),
            engine(canvases, draws),
            build(name, table, plain)(canvases, draws),
        )
    finally:
        torch.use_deterministic_algorithms(False)
    assert same_bits(first, again) and same_bits(first, anew)
    assert torch.equal(canvases.pixels, before[0]) and torch.equal(canvases.size_px, before[1])
    np.testing.assert_array_equal(draws, before[2])


@every_engine
def test_views_that_were_returned_stay_as_they_are_when_the_next_are_made(make_canvases, plain, name):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases(SIZES, 128, SOME)
    engine = build(name, table, plain)
    crops = engine(canvases, draw(table, canvases))
    kept = crops.global_crops.clone(), crops.local_crops.clone()
    other = engine(canvases, draw(table, canvases, seed=1))
    assert torch.equal(crops.global_crops, kept[0]) and torch.equal(crops.local_crops, kept[1])
    assert not torch.equal(other.global_crops, kept[0])


@every_engine
def test_each_modality_is_normalised_with_its_own_constants(make_canvases, plain, name):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases([(128, 128)] * 3, 128, [1, 5, 1])
    draws = draw(table, canvases)
    rng = np.random.default_rng(0)
    constants = Normalisation(
        mean=rng.uniform(0.2, 0.6, (7, 3)).astype(np.float32), std=rng.uniform(0.1, 0.3, (7, 3)).astype(np.float32)
    )
    raw, crops = (build(name, table, numbers)(canvases, draws) for numbers in (plain, constants))
    mean, std = (torch.from_numpy(rows)[[1, 5, 1], :, None, None] for rows in (constants.mean, constants.std))
    torch.testing.assert_close(crops.global_crops * std + mean, raw.global_crops, atol=1e-5, rtol=0)
    torch.testing.assert_close(crops.local_crops * std + mean, raw.local_crops, atol=1e-5, rtol=0)
    assert crops.modality.tolist() == [1, 5, 1]


@pytest.mark.parametrize(
    ("batch", "num_global", "num_local", "global_px", "local_px"),
    [(1, 2, 10, 224, 96), (2, 2, 0, 96, 48), (3, 3, 1, 70, 33), (1, 2, 2, 32, 160)],
)
@every_engine
def test_views_have_the_numbers_and_sides_that_were_asked_for(
    make_canvases, plain, name, batch, num_global, num_local, global_px, local_px
):
    table = policy_table("released", MODALITIES)
    canvases = make_canvases(SIZES[1 : 1 + batch], 128, SOME[:batch])
    sides = {"global_px": global_px, "local_px": local_px}
    crops = build(name, table, plain, num_global=num_global, num_local=num_local, **sides)(
        canvases, draw(table, canvases, num_global=num_global, num_local=num_local)
    )
    assert crops.global_crops.shape == (num_global, batch, 3, global_px, global_px)
    assert crops.local_crops.shape == (num_local, batch, 3, local_px, local_px)
    assert crops.global_crops.dtype == crops.local_crops.dtype == torch.float32
    assert all(view.std() > 1 for view in levels(crops))


lengths = st.one_of(st.just(1), st.integers(1, 128))
fills = st.sampled_from([0, 255, 77, None])


@every_preset
@every_engine
@settings(max_examples=15, deadline=None, derandomize=True)
@given(sizes=st.lists(st.tuples(lengths, lengths), min_size=1, max_size=3), fill=fills, seed=st.integers(0, 10**6))
def test_no_size_or_content_gives_anything_but_values_in_range(make_canvases, plain, name, preset, sizes, fill, seed):
    table = policy_table(preset, MODALITIES)
    canvases = cut(make_canvases([(128, 128)] * len(sizes), 128, SOME[: len(sizes)]), sizes)
    if fill is not None:
        canvases.pixels.fill_(fill)
    crops = build(name, table, plain)(canvases, draw(table, canvases, seed=seed))
    for view in levels(crops):
        assert np.isfinite(view).all() and view.min() >= -0.01 and view.max() <= 255.01


@every_engine
@settings(max_examples=15, deadline=None, derandomize=True)
@given(size=st.tuples(lengths, lengths), level=st.integers(0, 255), seed=st.integers(0, 10**6))
def test_geometry_keeps_a_constant_image_constant(make_canvases, plain, name, size, level, seed):
    table = policy_table("medical", MODALITIES)
    canvases = cut(make_canvases([(128, 128)], 128, [MODALITIES.index("derm")]), [size])
    canvases.pixels.fill_(level)
    draws = draw(table, canvases, seed=seed)
    neutral = neutral_views(canvases.size_px.numpy(), draws.shape[1])
    draws[..., Field.HED_SCALE_H :] = neutral[..., Field.HED_SCALE_H :]
    assert (draws[..., Field.ANGLE_RAD] != 0).all()
    for view in levels(build(name, table, plain)(canvases, draws)):
        np.testing.assert_allclose(view, level, atol=0.01)


@every_table
@pytest.mark.parametrize("name", ON_TORCH)
def test_nothing_is_read_back_from_the_device(make_canvases, plain, name, preset, monkeypatch):
    """A meta tensor has no values, so any read of one by the host raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    table = table_of(preset)
    canvases = make_canvases(SIZES, 128, SOME)
    draws = draw(table, canvases)
    crops = build(name, table, plain, device="meta")(canvases, draws)
    assert crops.global_crops.shape == (2, 4, 3, 96, 96) and crops.local_crops.shape == (3, 4, 3, 48, 48)


@every_engine
def test_a_deep_canvas_is_seen_through_the_window_of_its_row(make_canvases, plain, name):
    """Images of 16 bits lie among others of 8, and each view has a window of its own."""
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases(SIZES, 128, SOME)
    deep = [0, 2]
    low, high = np.array([0.10, 0.12, 0.08, 0.10, 0.05]), np.array([0.40, 0.42, 0.35, 0.45, 0.40])
    for image in deep:
        values = (65535 * (0.1 + 0.3 * canvases.pixels[image, 0] / 255)).int()
        canvases.pixels[image] = torch.stack([values >> 8, values & 255, values >> 8]).to(torch.uint8)
    draws = draw(table, canvases)
    draws[deep, :, Field.DEEP], draws[deep, :, Field.WINDOW_LOW], draws[deep, :, Field.WINDOW_HIGH] = 1, low, high
    engine = build(name, table, plain)
    views = levels(engine(canvases, draws))
    for image in deep:
        pixels = canvases.pixels[image, :, : SIZES[image][0], : SIZES[image][1]].numpy()
        theirs = [
            chain.torchvision_view(pixels, row, view.shape[-1]) for row, view in zip(draws[image], views, strict=True)
        ]
        difference = np.concatenate(
            [np.abs(view[image] - other).ravel() for view, other in zip(views, theirs, strict=True)]
        )
        assert difference.mean() < 1.5 and np.quantile(difference, 0.999) < 10
    shallow = levels(engine(rows_of(canvases, [1, 3]), draws[[1, 3]]))
    assert max(np.abs(a[[1, 3]] - b).max() for a, b in zip(views, shallow, strict=True)) < 0.003


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_preset
@pytest.mark.parametrize("name", ON_TORCH)
def test_a_gpu_gives_the_views_of_the_cpu_and_never_makes_the_host_wait(make_canvases, plain, name, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, SOME)
    draws = draw(table, canvases)
    on_gpu = build(name, table, plain, device="cuda")
    on_gpu(canvases, draws)
    torch.cuda.set_sync_debug_mode("error")
    try:
        theirs = on_gpu(canvases, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    ours = build(name, table, plain)(canvases, draws)
    for cpu, gpu in ((ours.global_crops, theirs.global_crops), (ours.local_crops, theirs.local_crops)):
        assert torch.quantile((cpu - gpu.cpu()).abs().flatten()[:1_000_000], 0.999) < 0.5 / 255
