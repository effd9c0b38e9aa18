"""Draws follow their policies and depend on (seed, slot, view) alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from mermed.augment.draw import NUM_FIELDS, ORDERS, Field, PolicyTable, draw_views, neutral_views, policy_table
from mermed.augment.policy import Policy, policy_for
from mermed.contract import MODALITIES

BIG = 4096


def draw(table, count=2000, *, size=(BIG, BIG), num_global=2, num_local=4, seed=1, first=0, modality=0):
    return draw_views(
        table,
        seed=seed,
        slot=np.arange(first, first + count),
        modality=np.full(count, modality),
        size_px=np.tile(np.array(size, np.int32), (count, 1)),
        num_global=num_global,
        num_local=num_local,
    )


def one(policy):
    return PolicyTable((policy,))


def fits(sample, distribution, *arguments):
    return stats.kstest(np.ravel(sample), distribution, args=arguments).pvalue > 1e-3


def test_rows_are_the_same_alone_in_any_batch_and_in_any_order():
    table = policy_table("medical", MODALITIES)
    rng = np.random.default_rng(0)
    slot, modality = rng.integers(0, 2**60, 50), rng.integers(0, 7, 50)
    size_px = rng.integers(1, 600, (50, 2)).astype(np.int32)
    settings = {"seed": 3, "num_global": 2, "num_local": 10}
    together = draw_views(table, slot=slot, modality=modality, size_px=size_px, **settings)
    some = rng.permutation(50)[:7]
    apart = draw_views(table, slot=slot[some], modality=modality[some], size_px=size_px[some], **settings)
    np.testing.assert_array_equal(together[some], apart)
    fewer = draw_views(table, slot=slot, modality=modality, size_px=size_px, **(settings | {"num_local": 3}))
    np.testing.assert_array_equal(together[:, :5], fewer)


def test_seeds_slots_and_views_draw_independent_numbers():
    rows = draw(one(policy_for("seed", "ct")), 4000)
    left = rows[..., Field.LEFT_PX] / (BIG - rows[..., Field.WIDTH_PX] + 1)
    top = rows[..., Field.TOP_PX] / (BIG - rows[..., Field.HEIGHT_PX] + 1)
    other = draw(one(policy_for("seed", "ct")), 4000, seed=2)
    pairs = [
        (left[:, 0], left[:, 1]),
        (left[:-1, 2], left[1:, 2]),
        (left[:, 2], top[:, 2]),
        (left[:, 2], rows[:, 2, Field.HEIGHT_PX]),
        (rows[:, 0, Field.BRIGHTNESS], other[:, 0, Field.BRIGHTNESS]),
        (rows[:, 0, Field.BRIGHTNESS], rows[:, 0, Field.CONTRAST]),
    ]
    assert all(abs(np.corrcoef(first, second)[0, 1]) < 0.06 for first, second in pairs)


def test_crops_are_uniform_in_area_place_and_log_ratio():
    policy = replace(policy_for("seed", "ct"), local_scale=(0.05, 0.4), ratio=(3 / 4, 4 / 3))
    rows = draw(one(policy))[:, 2:]
    height, width = rows[..., Field.HEIGHT_PX], rows[..., Field.WIDTH_PX]
    assert fits(height * width / BIG**2, "uniform", 0.05, 0.35)
    assert fits(np.log(width / height), "uniform", math.log(3 / 4), math.log(16 / 9))
    assert fits(rows[..., Field.TOP_PX] / (BIG - height), "uniform")
    assert fits(rows[..., Field.LEFT_PX] / (BIG - width), "uniform")


def test_crops_that_must_be_tried_again_follow_torchvision():
    size, scale = (200, 600), (0.2, 1.0)
    rows = draw(one(policy_for("released", "ct")), 1500, size=size)[:, :2]
    image = torch.empty((1, *size))
    torch.manual_seed(0)
    reference = np.array([RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(1500)])
    for field, column in ((Field.HEIGHT_PX, 2), (Field.WIDTH_PX, 3), (Field.TOP_PX, 0), (Field.LEFT_PX, 1)):
        assert stats.ks_2samp(rows[..., field].ravel(), reference[:, column]).pvalue > 1e-3


@pytest.mark.parametrize(("size", "crop"), [((20, 500), (20, 27)), ((500, 20), (27, 20))])
def test_an_image_too_thin_for_any_attempt_is_cropped_at_its_centre(size, crop):
    rows = draw(one(policy_for("released", "ct")), 50, size=size)[:, 0]
    assert (rows[:, [Field.HEIGHT_PX, Field.WIDTH_PX]] == crop).all()
    assert (rows[:, Field.TOP_PX] == (size[0] - crop[0]) // 2).all()
    assert (rows[:, Field.LEFT_PX] == (size[1] - crop[1]) // 2).all()


@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_every_crop_lies_inside_the_image_and_no_longer_than_the_table_says(preset):
    table = policy_table(preset, MODALITIES)
    rng = np.random.default_rng(1)
    size_px = rng.integers(1, 513, (3000, 2)).astype(np.int32)
    rows = draw_views(
        table,
        seed=0,
        slot=np.arange(3000),
        modality=rng.integers(0, 7, 3000),
        size_px=size_px,
        num_global=2,
        num_local=2,
    )
    top, left, height, width = (
        rows[..., field] for field in (Field.TOP_PX, Field.LEFT_PX, Field.HEIGHT_PX, Field.WIDTH_PX)
    )
    assert (top >= 0).all() and (left >= 0).all() and (height >= 1).all() and (width >= 1).all()
    assert (top + height <= size_px[:, None, 0]).all() and (left + width <= size_px[:, None, 1]).all()
    local_px = math.ceil(512 * table.largest_side("local_scale"))
    assert max(height[:, 2:].max(), width[:, 2:].max()) <= local_px


def test_flips_turns_and_angles_follow_the_policy():
    policy = replace(policy_for("medical", "path"), rotation_deg=20.0, flip_h_p=0.3, flip_v_p=0.7)
    rows = draw(one(policy))
    assert rows[..., Field.FLIP_H].mean() == pytest.approx(0.3, abs=0.02)
    assert rows[..., Field.FLIP_V].mean() == pytest.approx(0.7, abs=0.02)
    quarters = np.bincount(rows[..., Field.QUARTER_TURNS].astype(int).ravel(), minlength=4)
    assert stats.chisquare(quarters).pvalue > 1e-3 and len(quarters) == 4
    assert fits(np.degrees(rows[..., Field.ANGLE_RAD]), "uniform", -20, 40)


def test_jitter_is_on_or_off_as_a_whole_and_uniform_when_on():
    policy = replace(policy_for("seed", "derm"), gamma=(0.5, 2.0))
    rows = draw(one(policy)).reshape(-1, NUM_FIELDS)
    is_on = rows[:, Field.BRIGHTNESS] != 1
    assert is_on.mean() == pytest.approx(0.8, abs=0.02)
    for field in (Field.CONTRAST, Field.SATURATION, Field.GAMMA):
        np.testing.assert_array_equal(rows[:, field] != 1, is_on)
    np.testing.assert_array_equal(rows[:, Field.HUE] != 0, is_on)
    on = rows[is_on]
    assert fits(on[:, Field.BRIGHTNESS], "uniform", 0.6, 0.8)
    assert fits(on[:, Field.CONTRAST], "uniform", 0.6, 0.8)
    assert fits(on[:, Field.SATURATION], "uniform", 0.8, 0.4)
    assert fits(on[:, Field.HUE], "uniform", -0.1, 0.2)
    assert fits(np.log2(on[:, Field.GAMMA]), "uniform", -1, 2)
    orders = np.bincount(on[:, Field.ORDER].astype(int), minlength=24)
    assert len(orders) == 24 and stats.chisquare(orders).pvalue > 1e-3
    assert (rows[~is_on][:, Field.ORDER] == 0).all()


def test_blur_and_solarisation_differ_between_the_kinds_of_view():
    rows = draw(one(policy_for("seed", "ct")), 4000, num_global=3)
    is_blurred = rows[..., Field.BLUR_SIGMA_PX] > 0
    np.testing.assert_allclose(is_blurred.mean(axis=0), [1, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5], atol=0.025)
    assert fits(rows[..., Field.BLUR_SIGMA_PX][is_blurred], "uniform", 0.1, 1.9)
    np.testing.assert_allclose(rows[..., Field.SOLARISE].mean(axis=0), [0, 0.2, 0.2, 0, 0, 0, 0], atol=0.025)


def test_stain_and_inversion_are_drawn_only_where_the_policy_has_them():
    table = policy_table("medical", MODALITIES)
    path, cxr = (draw(table, modality=MODALITIES.index(name)) for name in ("path", "cxr"))
    for field in range(Field.HED_SCALE_H, Field.HED_SCALE_D + 1):
        assert fits(path[..., field], "uniform", 0.95, 0.1) and (cxr[..., field] == 1).all()
    for field in range(Field.HED_SHIFT_H, Field.HED_SHIFT_D + 1):
        assert fits(path[..., field], "uniform", -0.05, 0.1) and (cxr[..., field] == 0).all()
    assert cxr[..., Field.INVERT].mean() == pytest.approx(0.05, abs=0.01) and not path[..., Field.INVERT].any()


MANY = 100_000


def is_uniform(sample, low, high):
    """Whether KS takes it for uniform; a sample of one value must be that one."""
    if low == high:
        return bool(np.allclose(sample, low, atol=1e-6))
    return stats.kstest(np.ravel(sample), "uniform", args=(low, high - low)).pvalue > 1e-4


def is_likely(hits, p):
    """Whether that many hits are no surprise at probability p."""
    return stats.binomtest(int(hits.sum()), hits.size, p).pvalue > 1e-4


@pytest.mark.parametrize(
    ("preset", "modality"), [("seed", "ct"), ("released", "ct"), *(("medical", name) for name in MODALITIES)]
)
def test_a_hundred_thousand_draws_follow_every_range_of_the_policy(preset, modality):
    policy = policy_for(preset, modality)
    # sides so long that rounding to pixels stays below what the test can see
    views = draw(one(policy), MANY // 4, size=(2**20, 2**20), num_global=2, num_local=2, seed=5)
    for kind, scale in ((views[:, :2], policy.global_scale), (views[:, 2:], policy.local_scale)):
        _check_crops(kind.reshape(-1, NUM_FIELDS).astype(np.float64), scale, policy.ratio)
    _check_kinds(views, policy)
    rows = views.reshape(-1, NUM_FIELDS).astype(np.float64)
    assert is_uniform(np.degrees(rows[:, Field.ANGLE_RAD]), -policy.rotation_deg, policy.rotation_deg)
    assert (rows[:, Field.BLACK_CORNERS] == (policy.corners == "black")).all()
    turns = np.bincount(rows[:, Field.QUARTER_TURNS].astype(int), minlength=4)
    assert stats.chisquare(turns).pvalue > 1e-4 if policy.quarter_turns else turns[0] == len(rows)
    coins = (Field.FLIP_H, "flip_h_p"), (Field.FLIP_V, "flip_v_p"), (Field.INVERT, "invert_p")
    for field, name in (*coins, (Field.GRAYSCALE, "grayscale_p")):
        assert is_likely(rows[:, field], getattr(policy, name))
    _check_colours(rows, policy)


def _check_crops(rows, scale, ratio):
    """Area, log ratio and centre; a crop that does not fit is tried again, so only crops that surely fit are even."""
    height, width, side = rows[:, Field.HEIGHT_PX], rows[:, Field.WIDTH_PX], 2.0**20
    area, skew = height * width / side**2, np.log(width / height)
    fits_surely = 1 / max(ratio[1], 1 / ratio[0])
    sure = area < fits_surely
    assert area.min() >= scale[0] - 1e-5 and area.max() <= scale[1] + 1e-5
    assert is_uniform(area[sure], scale[0], min(scale[1], fits_surely))
    assert is_uniform(skew[sure], *np.log(ratio))
    assert is_uniform(rows[:, Field.TOP_PX] / (side - height + 1), 0, 1)
    assert is_uniform(rows[:, Field.LEFT_PX] / (side - width + 1), 0, 1)


def _check_kinds(views, policy):
    """Blur and solarisation: the first global view, the second, the local ones."""
    sigma = views[..., Field.BLUR_SIGMA_PX]
    for kind, columns in enumerate((slice(0, 1), slice(1, 2), slice(2, 4))):
        assert is_likely(sigma[:, columns] > 0, policy.blur_p[kind])
        assert is_likely(views[:, columns, Field.SOLARISE], policy.solarise_p[kind])
    assert is_uniform(sigma[sigma > 0], *policy.blur_sigma_px)


def _check_colours(rows, policy):
    jitters = Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION
    is_on = rows[:, Field.ORDER] > 0
    # one order in twenty-four is number 0
    assert is_likely(is_on, policy.jitter_p * 23 / 24)
    on = rows[is_on]
    for field in jitters:
        reach = getattr(policy, field.name.lower())
        assert is_uniform(on[:, field], max(0.0, 1 - reach), 1 + reach)
    assert is_uniform(on[:, Field.HUE], -policy.hue, policy.hue)
    assert is_uniform(np.log(on[:, Field.GAMMA]), *np.log(policy.gamma))
    orders = np.bincount(on[:, Field.ORDER].astype(int), minlength=24)[1:]
    assert len(orders) == 23 and stats.chisquare(orders).pvalue > 1e-4
    for scale, shift in zip(
        range(Field.HED_SCALE_H, Field.HED_SCALE_D + 1), range(Field.HED_SHIFT_H, Field.HED_SHIFT_D + 1), strict=True
    ):
        assert is_uniform(rows[:, scale], 1 - policy.hed_sigma, 1 + policy.hed_sigma)
        assert is_uniform(rows[:, shift], -policy.hed_sigma, policy.hed_sigma)


def test_a_policy_that_allows_nothing_draws_the_whole_image_unchanged():
    still = Policy(reason="a test", source="a test", global_scale=(1.0, 1.0), ratio=(1.0, 1.0))
    rows = draw(one(still), 5, size=(64, 64), num_local=0)
    np.testing.assert_array_equal(rows, neutral_views(np.full((5, 2), 64, np.int32), 2))


def test_orders_hold_every_permutation_once():
    assert len({tuple(order) for order in ORDERS.tolist()}) == 24 and (np.sort(ORDERS, axis=1) == np.arange(4)).all()


def test_draws_never_change_between_versions():
    """Frozen on 2026-11-24. If these numbers move, every run resumed from a checkpoint sees other views."""
    rows = draw_views(
        policy_table("medical", MODALITIES),
        seed=7,
        slot=np.array([0, 123_456_789_012]),
        modality=np.array([MODALITIES.index("path"), MODALITIES.index("cxr")]),
        size_px=np.array([[224, 200], [512, 431]], np.int32),
        num_global=2,
        num_local=1,
    )
    drawn, window = np.split(rows, [Field.DEEP], axis=-1)
    np.testing.assert_allclose(drawn.ravel(), np.array(GOLDEN.split(), np.float64), rtol=1e-6)
    assert (window == (0, 0, 1)).all()


GOLDEN = """
224 200 5 35 158 151 0 0 1 1 0 1.0098034 0.98617995 1.0242461 0.0076932679 -0.0043310444 0.015201199 1 1 1 0 0 1
0 0 0.20858978 0 224 200 4 23 191 175 0 0 1 1 1 1.0094339 1.0332501 1.031734 0.0388133 -0.010475678 -0.022416575
0.97403932 0.95450032 0.9797343 0.0043035885 20 1 0 0 0 0 224 200 136 17 73 74 0 0 1 1 3 0.985928 0.97339076
1.0478138 0.027505841 0.020967171 0.0068677333 1.0501875 1.0414702 1.0225521 -0.0089676818 7 1 0 0 0 0 512 431
61 73 358 274 -0.029983344 0 0 0 0 1 1 1 0 0 0 0.99314719 0.94665712 1 0 22 0.93999857 0 0 0.73458564 0 512 431
16 79 231 306 -0.11835044 0 0 0 0 1 1 1 0 0 0 0.85644901 1.1188812 1 0 2 0.81629306 0 0 0 0 512 431 28 129 286
230 -0.15237202 0 0 0 0 1 1 1 0 0 0 1.0328428 1.112949 1 0 16 0.8815167 0 0 0.74651039 0
"""
