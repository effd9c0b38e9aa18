"""The torch engine: the whole chain against the slow reference, and the promises every engine makes."""

import contextlib
import shutil
from dataclasses import replace

import chain
import numpy as np
import pytest
import torch
from drawn import draw_for as draw
from drawn import rows_of
from torch._dynamo import utils as dynamo
from torch.utils._python_dispatch import TorchDispatchMode

from mermed.augment.draw import Field, PolicyTable, neutral_views, policy_table
from mermed.augment.policy import Normalisation, policy_for
from mermed.augment.torch_crops import TorchCrops
from mermed.contract import MODALITIES
from mermed.errors import ConfigError

PRESETS = ("seed", "released", "medical")
SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]
KINDS = [2, 5, 6, 3]


def engine(table, normalisation, device="cpu", canvas_px=128, **more):
    settings = {"global_px": 96, "local_px": 48, "num_global": 2, "canvas_px": canvas_px, **more}
    return TorchCrops(table, normalisation, device=torch.device(device), **settings)


def expected(canvases, draws, crops):
    """What the slow reference makes of the views of `crops`: [views, batch, 3, side, side] in [0, 255], both kinds."""
    kinds = []
    for views, of_kind in ((slice(0, 2), crops.global_crops), (slice(2, None), crops.local_crops)):
        made = np.zeros(of_kind.shape, np.float32)
        for b, (height, width) in enumerate(canvases.size_px.tolist()):
            image = canvases.pixels[b, :, :height, :width].numpy()
            for v, row in enumerate(draws[b, views]):
                made[v, b] = chain.torchvision_view(image, row, of_kind.shape[-1])
        kinds.append(made)
    return kinds


def apart(crops, theirs):
    kinds = crops.global_crops, crops.local_crops
    return np.concatenate([np.abs(ours.numpy() * 255 - ref).ravel() for ours, ref in zip(kinds, theirs, strict=True)])


def same(first, second, **tolerance):
    torch.testing.assert_close(first.global_crops, second.global_crops, **tolerance)
    torch.testing.assert_close(first.local_crops, second.local_crops, **tolerance)


@pytest.mark.parametrize(
    ("preset", "mean", "rare"), [("seed", 0.01, 0.1), ("released", 1.0, 10.0), ("medical", 1.0, 10.0)]
)
def test_the_whole_chain_is_the_reference_to_the_grey_level(make_canvases, plain, preset, mean, rare):
    sizes = [(300, 300), (300, 240), (220, 300)]
    canvases = make_canvases(sizes, 300, [0, 3, 5], padding=255)
    table = policy_table(preset, MODALITIES)
    draws = draw(table, canvases, num_local=4)
    crops = engine(table, plain, canvas_px=300)(canvases, draws)
    differences = apart(crops, expected(canvases, draws, crops))
    assert differences.mean() < mean
    assert np.quantile(differences, 0.999) < rare


def test_views_that_are_not_turned_are_exact_in_every_policy(make_canvases, plain):
    canvases = make_canvases(SIZES, 128, KINDS)
    table = policy_table("medical", MODALITIES)
    draws = draw(table, canvases)
    draws[..., Field.ANGLE_RAD] = 0
    crops = engine(table, plain)(canvases, draws)
    assert apart(crops, expected(canvases, draws, crops)).max() < 0.05


@pytest.mark.parametrize("preset", PRESETS)
def test_deep_canvases_are_seen_through_the_window_of_each_view_beside_shallow_ones(make_canvases, plain, preset):
    canvases = make_canvases(SIZES, 128, [1, 1, 1, 1])
    table = policy_table(preset, MODALITIES)
    draws = draw(table, canvases)
    shallow = engine(table, plain)(canvases, draws)
    # low bytes that look like noise, as they do in real ones
    canvases.pixels[:2, 1] = torch.randint(0, 256, (2, 128, 128), generator=torch.Generator().manual_seed(0))
    draws[:2, :, Field.DEEP] = 1
    draws[:2, :, Field.WINDOW_LOW] = [0.30, 0.31, 0.28, 0.3, 0.33]
    draws[:2, :, Field.WINDOW_HIGH] = [0.70, 0.69, 0.74, 0.7, 0.66]
    draws[..., [Field.ANGLE_RAD, Field.INVERT]] *= np.array([1, 1, 0, 0, 0])[:, None]
    crops = engine(table, plain)(canvases, draws)
    for ours, theirs in zip((crops.global_crops, crops.local_crops), expected(canvases, draws, crops), strict=True):
        differences = np.abs(ours[:, :2].numpy() * 255 - theirs[:, :2])
        assert (differences.mean() < 3.0) if len(ours) == 2 else (differences.max() < 0.05)
        assert ours[:, :2].std() > 0.05
    if preset == "seed":
        assert torch.equal(crops.local_crops[:, 2:], shallow.local_crops[:, 2:])


@pytest.mark.parametrize("preset", PRESETS)
def test_what_lies_in_the_padding_never_enters_a_view(make_canvases, plain, preset):
    table = policy_table(preset, MODALITIES)
    clean, dirty = (make_canvases(SIZES, 128, KINDS, padding) for padding in (0, 255))
    draws = draw(table, clean, num_local=6)
    same(*(engine(table, plain)(canvases, draws) for canvases in (clean, dirty)), atol=0, rtol=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_image_gives_the_same_views_alone_and_at_any_place_of_a_batch(make_canvases, plain, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, KINDS)
    draws = draw(table, canvases)
    crops = engine(table, plain)(canvases, draws)
    order = [2, 0, 3, 1]
    for rows in ([0], [3], order):
        views = engine(table, plain)(rows_of(canvases, rows), draws[rows])
        torch.testing.assert_close(views.global_crops, crops.global_crops[:, rows], atol=1e-5, rtol=0)
        torch.testing.assert_close(views.local_crops, crops.local_crops[:, rows], atol=1e-5, rtol=0)
        assert views.modality.tolist() == [KINDS[row] for row in rows]


def test_views_are_the_same_bits_each_time_and_canvases_stay_as_they_are(make_canvases, plain):
    table = policy_table("medical", MODALITIES)
    canvases = make_canvases(SIZES, 128, KINDS)
    draws, before = draw(table, canvases), canvases.pixels.clone()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (engine(table, plain)(canvases, draws) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    same(first, second, atol=0, rtol=0)
    assert torch.equal(canvases.pixels, before)
    assert first.global_crops.is_contiguous() and first.local_crops.is_contiguous()


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_read_back_from_the_device(make_canvases, plain, preset, monkeypatch):
    """A meta tensor has no values, so any read of one by the host raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, KINDS)
    draws = draw(table, canvases)
    draws[0, :, Field.DEEP] = 1
    crops = engine(table, plain, "meta")(canvases, draws)
    assert crops.global_crops.shape == (2, 4, 3, 96, 96) and crops.local_crops.shape == (3, 4, 3, 48, 48)


class _Calls(TorchDispatchMode):
    """Counts operations by name; the batch must not change how many there are."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_the_same_operations_run_whatever_was_drawn(make_canvases, plain):
    table = policy_table("medical", MODALITIES)
    seen = []
    for sizes, modality, seed in ((SIZES, KINDS, 0), (SIZES[:1], KINDS[:1], 7)):
        canvases = make_canvases(sizes, 128, modality)
        draws = draw(table, canvases, seed=seed)
        with _Calls() as calls:
            engine(table, plain)(canvases, draws)
        seen.append(calls.names)
    assert seen[0] == seen[1]
    assert not {"_local_scalar_dense", "nonzero", "item"} & set(seen[0])


def test_each_modality_is_normalised_with_its_own_constants_in_the_asked_dtype(make_canvases, plain):
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
    halves = engine(table, constants, dtype=torch.bfloat16)(canvases, draws)
    assert torch.equal(halves.global_crops, crops.global_crops.bfloat16())


def test_what_the_engine_was_not_built_for_is_refused(make_canvases, plain):
    canvases = make_canvases([(128, 128)], 128)
    draws = neutral_views(canvases.size_px.numpy(), 3)
    of_seed = engine(policy_table("seed", MODALITIES), plain)
    of_seed(canvases, draws)
    for field, value, said in (
        (Field.ANGLE_RAD, 0.1, "turn"),
        (Field.QUARTER_TURNS, 1, "quarter"),
        (Field.INVERT, 1, "invert"),
    ):
        wrong = draws.copy()
        wrong[0, 1, field] = value
        with pytest.raises(ConfigError, match=said):
            of_seed(canvases, wrong)
    with pytest.raises(ConfigError, match="another side"):
        engine(policy_table("seed", MODALITIES), plain, canvas_px=64)(canvases, draws)
    too_far = neutral_views(canvases.size_px.numpy(), 3)
    too_far[..., Field.ANGLE_RAD] = 1.0
    with pytest.raises(ConfigError, match="turn"):
        engine(PolicyTable((policy_for("medical", "ct"),)), plain)(canvases, too_far)


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_a_compiled_engine_is_one_graph_for_all_draws_and_gives_the_same_views(make_canvases, plain):
    policy = replace(policy_for("medical", "path"), rotation_deg=20.0, hue=0.0, saturation=0.0)
    table = PolicyTable((policy,) * 7)
    canvases = make_canvases(SIZES, 128, KINDS)
    torch._dynamo.reset()
    dynamo.counters.clear()
    compiled, eager = (engine(table, plain, compiled=choice) for choice in (True, False))
    for seed in range(3):
        draws = draw(table, canvases, seed=seed)
        ours, theirs = compiled(canvases, draws), eager(canvases, draws)
        for first, second in ((ours.global_crops, theirs.global_crops), (ours.local_crops, theirs.local_crops)):
            assert torch.quantile((first - second).abs().flatten()[:1_000_000], 0.999) < 0.5 / 255
    assert dynamo.counters["stats"]["unique_graphs"] == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_gpu_gives_the_views_of_the_cpu_and_never_makes_the_host_wait(make_canvases, plain, preset):
    table = policy_table(preset, MODALITIES)
    canvases = make_canvases(SIZES, 128, KINDS)
    canvases = replace(canvases, pixels=canvases.pixels.pin_memory())
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
        assert torch.quantile((cpu - gpu.cpu()).abs().flatten()[:1_000_000], 0.999) < 1.0 / 255
