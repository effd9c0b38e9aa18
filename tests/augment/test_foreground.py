"""Crops that should show something do, as far as ten attempts go, and nothing else about the draws changes."""

from dataclasses import replace

import numpy as np
import pytest

from mermed.augment.draw import Field, PolicyTable, draw_views, neutral_views
from mermed.augment.foreground import shown_shares
from mermed.augment.policy import policy_for

PLAIN = replace(policy_for("medical", "us"), foreground=0.0, rotation_deg=0.0)
AWARE = replace(PLAIN, foreground=0.5)
PLACE = slice(Field.TOP_PX, Field.WIDTH_PX + 1)
SETTINGS = {"seed": 3, "num_global": 2, "num_local": 10}


def draw(policies, content, size=(300, 400), slot=None, modality=None):
    count = len(content)
    return draw_views(
        PolicyTable(policies),
        slot=np.arange(count) if slot is None else slot,
        modality=np.zeros(count, np.int64) if modality is None else modality,
        size_px=np.tile(np.array(size, np.int32), (count, 1)),
        content=content,
        **SETTINGS,
    )


def half(count):
    """Maps of images whose right half shows something."""
    content = np.zeros((count, 16, 16), np.bool_)
    content[:, :, 8:] = True
    return content


def shares(rows, content):
    frame_h, frame_w = rows[..., Field.FRAME_HEIGHT_PX], rows[..., Field.FRAME_WIDTH_PX]
    top, left, height, width = np.moveaxis(rows[..., PLACE].astype(np.float64), -1, 0)
    crops = (top / frame_h, left / frame_w, height / frame_h, width / frame_w)
    return shown_shares(content, *(share[..., None] for share in crops))[..., 0]


def test_the_share_of_a_crop_is_that_of_its_pixels():
    rng = np.random.default_rng(0)
    content = rng.random((5, 16, 16)) < 0.4
    pixels = content.repeat(20, axis=1).repeat(10, axis=2)
    top, left = rng.integers(0, 320, (5, 4, 3)), rng.integers(0, 160, (5, 4, 3))
    bottom, right = rng.integers(top, 320) + 1, rng.integers(left, 160) + 1
    shown = shown_shares(content, top / 320, left / 160, (bottom - top) / 320, (right - left) / 160)
    for place in np.ndindex(shown.shape):
        crop = pixels[place[0], top[place] : bottom[place], left[place] : right[place]]
        assert shown[place] == pytest.approx(crop.mean(), abs=1e-9)
    whole = np.zeros((5, 1, 1))
    np.testing.assert_allclose(
        shown_shares(content, whole, whole, whole + 1, whole + 1)[:, 0, 0], content.mean(axis=(1, 2)), rtol=1e-12
    )


def test_crops_of_an_aware_policy_show_enough_where_others_often_do_not():
    content = half(500)
    aware, plain = shares(draw((AWARE,), content), content), shares(draw((PLAIN,), content), content)
    assert (plain[:, 2:] < 0.5).mean() > 0.4
    assert (aware[:, 2:] < 0.5).mean() < 0.01
    assert (aware >= 0.49)[:, :2].mean() > (plain >= 0.49)[:, :2].mean()


def test_crops_that_show_enough_are_as_large_and_as_spread_as_any():
    rows = draw((AWARE,), np.ones((4000, 16, 16), np.bool_))[:, 2:]
    plain = draw((PLAIN,), np.ones((4000, 16, 16), np.bool_))[:, 2:]
    np.testing.assert_array_equal(
        rows[..., [Field.HEIGHT_PX, Field.WIDTH_PX]], plain[..., [Field.HEIGHT_PX, Field.WIDTH_PX]]
    )
    for side, room, length in ((Field.TOP_PX, Field.HEIGHT_PX, 300), (Field.LEFT_PX, Field.WIDTH_PX, 400)):
        place = rows[..., side] / (length - rows[..., room])
        np.testing.assert_allclose(np.quantile(place, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)


def test_where_no_attempt_shows_enough_the_one_that_shows_most_is_taken():
    content = np.zeros((300, 16, 16), np.bool_)
    content[:, 7:9, 7:9] = True
    most = shares(draw((replace(AWARE, foreground=1.0),), content), content)[:, 2:]
    some = shares(draw((replace(AWARE, foreground=1e-9),), content), content)[:, 2:]
    assert (most >= some - 1e-6).all() and most.mean() > 1.2 * some.mean()


def test_black_images_other_policies_and_calls_without_a_map_keep_their_rows():
    dark, content = np.zeros((40, 16, 16), np.bool_), half(40)
    expected = draw((PLAIN,), content)
    np.testing.assert_array_equal(draw((AWARE,), dark), expected)
    mixed = draw((AWARE, PLAIN), content, modality=np.arange(40) % 2)
    np.testing.assert_array_equal(mixed[1::2], expected[1::2])
    assert (mixed[::2, :, PLACE] != expected[::2, :, PLACE]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(np.delete(mixed, np.r_[PLACE], -1), np.delete(expected, np.r_[PLACE], -1))


def test_one_sample_alone_has_the_row_of_its_batch_with_map_and_window_too():
    rng = np.random.default_rng(1)
    slot, modality = rng.integers(0, 2**60, 30), rng.integers(0, 2, 30)
    size_px = rng.integers(1, 600, (30, 2)).astype(np.int32)
    content = rng.random((30, 16, 16)) < 0.3
    window = np.where(rng.random((30, 1)) < 0.5, np.nan, [[0.01, 0.02]]).astype(np.float32)
    table = PolicyTable((policy_for("medical", "ct"), policy_for("medical", "cfp")))
    everything = {"slot": slot, "modality": modality, "size_px": size_px, "content": content, "window": window}
    together = draw_views(table, **everything, **SETTINGS)
    for row in range(30):
        alone = draw_views(table, **{name: value[row : row + 1] for name, value in everything.items()}, **SETTINGS)
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3), (40, 40), (20, 500)])
@pytest.mark.parametrize("fill", [0.0, 0.3, 1.0])
def test_crops_of_extreme_images_lie_inside_them(size, fill):
    content = np.random.default_rng(0).random((50, 16, 16)) < fill
    rows = draw((AWARE,), content, size)
    top, left, height, width = np.moveaxis(rows[..., PLACE], -1, 0)
    assert (top >= 0).all() and (left >= 0).all() and (height >= 1).all() and (width >= 1).all()
    assert (top + height <= size[0]).all() and (left + width <= size[1]).all()
    assert np.isfinite(rows).all()


def test_a_deep_row_has_the_window_jittered_for_each_view_and_others_the_neutral_one():
    low, high = 0.01, 0.03
    window = np.array([[low, high], [np.nan, np.nan]] * 2000, np.float32)
    policy = replace(PLAIN, window_level=0.1, window_width=0.2)
    known = {"slot": np.arange(4000), "modality": np.zeros(4000, np.int64), "size_px": np.full((4000, 2), 64, np.int32)}
    rows = draw_views(PolicyTable((policy,)), window=window, **known, **SETTINGS)
    deep, flat = rows[::2].astype(np.float64), rows[1::2]
    shallow = neutral_views(np.full((1, 2), 64, np.int32), 1)[0, 0, Field.DEEP :]
    assert (flat[..., Field.DEEP :] == shallow).all() and (deep[..., Field.DEEP] == 1).all()
    width = (deep[..., Field.WINDOW_HIGH] - deep[..., Field.WINDOW_LOW]) / (high - low)
    level = ((deep[..., Field.WINDOW_HIGH] + deep[..., Field.WINDOW_LOW]) / 2 - (low + high) / 2) / (high - low)
    np.testing.assert_allclose(
        np.quantile(np.log(width), [0, 0.25, 0.5, 0.75, 1]), np.linspace(-0.2, 0.2, 5), atol=6e-3
    )
    np.testing.assert_allclose(np.quantile(level, [0, 0.25, 0.5, 0.75, 1]), np.linspace(-0.1, 0.1, 5), atol=3e-3)
    assert abs(np.corrcoef(level.ravel(), width.ravel())[0, 1]) < 0.02
    assert (np.ptp(width, axis=1) > 0.05).all()
    still = draw_views(PolicyTable((PLAIN,)), window=window, **known, **SETTINGS)[::2]
    np.testing.assert_allclose(still[..., Field.WINDOW_LOW :], np.broadcast_to([low, high], (2000, 12, 2)), rtol=1e-5)
