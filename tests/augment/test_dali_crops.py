"""The DALI engine against the slow reference, operation by operation, and what it refuses.

BARS is the table of docs/dali.md: the most that a view may differ in the mean, and 999 of 1,000 values, in grey levels.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from chain import torchvision_view
from PIL import Image

from mermed.augment.dali_crops import DaliCrops
from mermed.augment.draw import Field, PolicyTable, draw_views, neutral_views, policy_table
from mermed.augment.engine import Crops
from mermed.augment.policy import Normalisation, policy_for
from mermed.batch import EncodedBatch, Position
from mermed.contract import MODALITIES, SampleMeta
from mermed.errors import ConfigError, EnvironmentError_, IntegrityError

pytest.importorskip("nvidia.dali")

SIZES = [(128, 128), (128, 90), (77, 128), (60, 60)]
GLOBAL_PX, LOCAL_PX = 96, 48
PATHS = {
    "straight": replace(policy_for("seed", "derm"), source="test"),
    "quarters": replace(policy_for("seed", "derm"), quarter_turns=True),
    "turning": replace(policy_for("seed", "derm"), rotation_deg=30.0, corners="black", quarter_turns=True),
}
TABLES = {name: PolicyTable((policy,)) for name, policy in PATHS.items()} | {
    "stained": PolicyTable((replace(PATHS["straight"], hed_sigma=0.05),)),
    "both": PolicyTable((PATHS["turning"], replace(PATHS["turning"], corners="reflect", rotation_deg=180.0))),
}
CROP = {Field.TOP_PX: 7, Field.LEFT_PX: 11, Field.HEIGHT_PX: 47, Field.WIDTH_PX: 40}
BARS = {
    "crop": (CROP, 0.1, 2.0),
    "flips": (CROP | {Field.FLIP_H: 1, Field.FLIP_V: 1}, 0.1, 2.0),
    "quarter turn": (CROP | {Field.QUARTER_TURNS: 3, Field.FLIP_H: 1}, 0.1, 2.0),
    "rotation": (CROP | {Field.ANGLE_RAD: 0.4, Field.BLACK_CORNERS: 1}, 0.8, 4.0),
    "mirrored rotation": (CROP | {Field.ANGLE_RAD: 2.4, Field.LEFT_PX: 0, Field.TOP_PX: 1}, 0.8, 4.0),
    "stain": (
        {Field.HED_SCALE_H: 1.05, Field.HED_SCALE_E: 0.96, Field.HED_SHIFT_H: 0.04, Field.HED_SHIFT_D: -0.05},
        0.1,
        2.0,
    ),
    "brightness": ({Field.BRIGHTNESS: 1.4}, 0.1, 2.0),
    "contrast": ({Field.CONTRAST: 0.6}, 0.1, 2.0),
    "saturation": ({Field.SATURATION: 1.8}, 0.1, 2.0),
    "hue": ({Field.HUE: 0.1}, 0.1, 2.0),
    "hue, the other way": ({Field.HUE: -0.5}, 0.1, 2.0),
    "order": (
        {Field.BRIGHTNESS: 1.4, Field.CONTRAST: 0.6, Field.SATURATION: 1.8, Field.HUE: -0.1, Field.ORDER: 17},
        0.1,
        2.0,
    ),
    "gamma": ({Field.GAMMA: 0.6}, 0.1, 2.0),
    "inversion": ({Field.INVERT: 1}, 0.1, 2.0),
    "greyscale": ({Field.GRAYSCALE: 1}, 0.1, 2.0),
    "blur": ({Field.BLUR_SIGMA_PX: 2.0}, 0.1, 2.0),
    "slight blur": ({Field.BLUR_SIGMA_PX: 0.1}, 0.1, 2.0),
}


def encode(image):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(images, modality=None):
    count = len(images)
    metas = tuple(
        SampleMeta(
            key=f"k{b}",
            modality="derm",
            dataset="made",
            split="train",
            group=f"k{b}",
            width=image.shape[2],
            height=image.shape[1],
            source_bits=8,
        )
        for b, image in enumerate(images)
    )
    return EncodedBatch(
        images=tuple(map(encode, images)),
        meta=metas,
        modality=np.array(modality or [0] * count, np.int64),
        slot=np.arange(100, 100 + count, dtype=np.int64),
        position=Position(100 + count),
    )


def engine(table, normalisation, num_local=3, batch=4, device="cpu"):
    settings = {"global_px": GLOBAL_PX, "local_px": LOCAL_PX, "num_global": 2, "num_local": num_local}
    return DaliCrops(table, normalisation, **settings, batch=batch, num_threads=2, device=torch.device(device))


@pytest.fixture(scope="module")
def images(natural):
    return [natural(height, width, b) for b, (height, width) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def engines(plain):
    return {name: engine(table, plain) for name, table in TABLES.items()}


def differences(images, crops, draws):
    """Grey levels between each view and the reference: {"global": [...], "local": [...]}, one array per view."""
    num_global = crops.global_crops.shape[0]
    found = {"global": [], "local": []}
    for b, v in np.ndindex(draws.shape[:2]):
        kind, side_px = ("global", GLOBAL_PX) if v < num_global else ("local", LOCAL_PX)
        view = crops.global_crops[v, b] if v < num_global else crops.local_crops[v - num_global, b]
        wanted = torchvision_view(images[b], draws[b, v], side_px)
        found[kind].append(np.abs(view.numpy() * 255.0 - wanted))
    return found


@pytest.mark.parametrize(
    ("path", "operation"),
    [("straight", name) for name in BARS if name not in ("quarter turn", "rotation", "mirrored rotation", "stain")]
    + [("quarters", "crop"), ("quarters", "flips"), ("quarters", "quarter turn"), ("stained", "stain")]
    + [("turning", "rotation"), ("both", "rotation"), ("both", "mirrored rotation")],
)
def test_each_operation_is_the_references_within_its_bar(images, engines, operation, path):
    fields, most_mean, most_usual = BARS[operation]
    draws = neutral_views(np.array(SIZES, np.int32), 5)
    draws[..., list(fields)] = list(fields.values())
    crops = engines[path](encoded(images), draws)
    for found in differences(images, crops, draws).values():
        assert max(difference.mean() for difference in found) <= most_mean
        assert np.quantile(np.stack(found), 0.999) <= most_usual


def test_solarisation_is_the_references_but_for_values_at_its_threshold(images, engines):
    draws = neutral_views(np.array(SIZES, np.int32), 5)
    draws[..., Field.SOLARISE] = 1
    for found in differences(images, engines["straight"](encoded(images), draws), draws).values():
        assert np.quantile(np.stack(found), 0.999) <= 2.0


@pytest.mark.parametrize(
    ("preset", "most_mean", "most_usual"), [("seed", 0.1, 1.5), ("released", 0.8, 5.0), ("medical", 1.0, 6.0)]
)
def test_whole_views_of_the_presets_are_the_references(images, plain, preset, most_mean, most_usual):
    numbers = [MODALITIES.index(name) for name in ("derm", "path", "cxr", "ct")]
    table = policy_table(preset, MODALITIES)
    draws = drawn(table, images, numbers, num_local=6)
    found = differences(images, engine(table, plain, num_local=6)(encoded(images, numbers), draws), draws)
    for kind in found.values():
        assert max(difference.mean() for difference in kind) <= most_mean
        assert np.quantile(np.stack(kind), 0.999) <= most_usual


def drawn(table, images, modality=None, num_local=3):
    count = len(images)
    return draw_views(
        table,
        seed=0,
        slot=np.arange(100, 100 + count),
        modality=np.array(modality or [0] * count, np.int64),
        size_px=np.array([image.shape[1:] for image in images], np.int32),
        num_global=2,
        num_local=num_local,
    )


def test_an_image_alone_gives_the_views_it_gives_in_a_batch(images, plain):
    table = policy_table("released", ["derm"])
    make, draws = engine(table, plain), drawn(table, images)
    together = make(encoded(images), draws)
    alone = make(encoded(images[2:3]), draws[2:3])
    again = make(encoded(images), draws)
    torch.testing.assert_close(alone.global_crops[:, 0], together.global_crops[:, 2], atol=1e-6, rtol=0)
    torch.testing.assert_close(alone.local_crops[:, 0], together.local_crops[:, 2], atol=1e-6, rtol=0)
    assert torch.equal(again.global_crops, together.global_crops)
    assert torch.equal(again.local_crops, together.local_crops)


def test_each_modality_is_normalised_with_its_own_constants(images, plain):
    table = PolicyTable((PATHS["straight"],) * 2)
    draws, batch = drawn(table, images, num_local=0), encoded(images, [0, 1, 1, 0])
    rng = np.random.default_rng(0)
    constants = Normalisation(
        mean=rng.uniform(0.2, 0.6, (2, 3)).astype(np.float32), std=rng.uniform(0.1, 0.3, (2, 3)).astype(np.float32)
    )
    raw, crops = (engine(table, numbers, num_local=0)(batch, draws) for numbers in (plain, constants))
    for b, number in enumerate(batch.modality):
        mean, std = (torch.from_numpy(rows[number])[:, None, None] for rows in (constants.mean, constants.std))
        torch.testing.assert_close(crops.global_crops[:, b] * std + mean, raw.global_crops[:, b], atol=1e-5, rtol=0)
    assert crops.local_crops.shape == (0, 4, 3, LOCAL_PX, LOCAL_PX)
    assert crops.modality.tolist() == [0, 1, 1, 0]


def test_an_image_larger_than_its_canvas_is_reduced_first(natural, engines, images):
    large = [natural(256, 256, 9), *images[1:]]
    draws = neutral_views(np.array(SIZES, np.int32), 5)
    crops = engines["straight"](encoded(large), draws)
    reduced = Image.fromarray(np.moveaxis(large[0], 0, -1)).resize((128, 128), Image.Resampling.BILINEAR)
    wanted = torchvision_view(np.moveaxis(np.asarray(reduced), -1, 0), draws[0, 0], GLOBAL_PX)
    assert np.abs(crops.global_crops[0, 0].numpy() * 255 - wanted).mean() < 0.5


def test_a_policy_it_cannot_apply_is_refused_with_the_field_and_the_way_out(plain):
    policy = replace(policy_for("medical", "derm"), ratio=(0.5, 2.0))
    with pytest.raises(ConfigError, match="ratio") as caught:
        engine(PolicyTable((policy,)), plain)
    assert caught.value.next_step == "--set stream.decoder=dali --set augment.engine=torch"


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        (Field.ANGLE_RAD, 0.1, "mirrored rotation"),
        (Field.QUARTER_TURNS, 1, "quarter turns"),
        (Field.HED_SHIFT_E, 0.1, "stain"),
        (Field.DEEP, 1, "a window of 16 bits"),
    ],
)
def test_draws_of_other_policies_are_refused_not_left_out(images, engines, field, value, name):
    draws = neutral_views(np.array(SIZES, np.int32), 5)
    draws[1, 2, field] = value
    with pytest.raises(ConfigError, match=name):
        engines["straight"](encoded(images), draws)


def test_images_of_16_bits_and_canvases_are_refused(images, engines, make_canvases):
    draws = neutral_views(np.array(SIZES[:1], np.int32), 5)
    buffer = io.BytesIO()
    Image.fromarray(images[0][0].astype(np.uint16)).save(buffer, "PNG")
    deep = replace(encoded(images[:1]), images=(buffer.getvalue(),))
    with pytest.raises(ConfigError, match="16 bits"):
        engines["straight"](deep, draws)
    with pytest.raises(ConfigError, match="not of canvases"):
        engines["straight"](make_canvases(SIZES[:1], 128), draws)


def test_an_image_that_does_not_decode_is_named_and_the_engine_works_on(images, plain):
    table = PolicyTable((PATHS["straight"],))
    make, batch, draws = engine(table, plain), encoded(images), drawn(table, images)
    before = make(batch, draws)
    cut = replace(batch, images=(*batch.images[:2], batch.images[2][:60], batch.images[3]))
    with pytest.raises(IntegrityError, match="derm/made/train, key k2"):
        make(cut, draws)
    assert torch.equal(make(batch, draws).global_crops, before.global_crops)


def test_a_failure_that_is_no_images_fault_says_so(images, engines):
    beyond = neutral_views(np.array(SIZES, np.int32), 5)
    beyond[..., Field.LEFT_PX] = 1000
    with pytest.raises(EnvironmentError_, match="DALI failed on images that it can decode"):
        engines["straight"](encoded(images), beyond)


def test_it_is_an_engine_like_the_others(engines):
    assert isinstance(engines["straight"], Crops)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", ["seed", "released"])
def test_a_gpu_gives_the_views_of_the_cpu(images, plain, preset):
    table = policy_table(preset, ["derm"])
    draws, batch = drawn(table, images), encoded(images)
    ours = engine(table, plain)(batch, draws)
    on_gpu = engine(table, plain, device="cuda")
    for theirs in (on_gpu(batch, draws), on_gpu(batch, draws)):
        for cpu, gpu in ((ours.global_crops, theirs.global_crops), (ours.local_crops, theirs.local_crops)):
            assert gpu.device.type == "cuda"
            assert np.quantile((cpu - gpu.cpu()).abs().numpy(), 0.999) < 2.0 / 255
