"""Enough detail: never so little that a view would be enlarged, and no more than that."""

import numpy as np

from mermed.augment.detail import enough_px
from mermed.augment.draw import Field, draw_views, neutral_views, policy_table

MODALITIES = ("cfp", "ct", "cxr", "derm", "oct", "path", "us")


def _draws(side_px, count=70):
    return draw_views(
        policy_table("released", MODALITIES),
        seed=0,
        slot=np.arange(count),
        modality=np.arange(count) % 7,
        size_px=np.full((count, 2), side_px, np.int32),
        num_global=2,
        num_local=10,
    )


def test_no_view_of_the_reduced_image_is_enlarged_by_the_reduction():
    draws = _draws(1024)
    enough = enough_px(draws, num_global=2, global_px=224, local_px=96)
    assert (enough < 1024).any()
    for row, side_px in zip(draws, enough, strict=True):
        shorter = np.minimum(row[:, Field.HEIGHT_PX], row[:, Field.WIDTH_PX]) * side_px / 1024
        wanted = np.array([224] * 2 + [96] * 10)
        if side_px < 1024:
            assert (shorter >= wanted - 1e-3).all()
            assert (shorter <= wanted * (1 + 2 / side_px)).any()


def test_an_image_whose_views_are_enlarged_already_is_kept_whole():
    assert enough_px(_draws(200), num_global=2, global_px=224, local_px=96).tolist() == [200] * 70


def test_the_side_follows_the_tightest_view():
    draws = neutral_views(np.array([[400, 800]], np.int32), 2)
    draws[0, :, Field.HEIGHT_PX], draws[0, :, Field.WIDTH_PX] = (200, 100), (400, 150)
    assert enough_px(draws, num_global=1, global_px=100, local_px=25).tolist() == [400]
    assert enough_px(draws, num_global=1, global_px=50, local_px=50).tolist() == [400]
    assert enough_px(draws, num_global=1, global_px=20, local_px=25).tolist() == [200]
