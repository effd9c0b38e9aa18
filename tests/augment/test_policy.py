"""The policy tables say what METHOD says, and constants come from where they should."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mermed.augment.draw import PolicyTable, policy_table
from mermed.augment.policy import normalisation, policy_for
from mermed.contract import MODALITIES
from mermed.errors import ConfigError

GREYSCALE = ("ct", "cxr", "oct", "us")
PRESETS = ("seed", "released", "medical")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_every_row_has_a_reason_a_source_and_ranges_in_order(preset, modality):
    policy = policy_for(preset, modality)
    assert len(policy.reason) > 20 and len(policy.source) > 10
    for low, high in (policy.global_scale, policy.local_scale, policy.ratio, policy.gamma, policy.blur_sigma_px):
        assert 0 < low <= high
    assert policy.global_scale[1] <= 1 and policy.local_scale[1] <= policy.global_scale[1]
    chances = [getattr(policy, name) for name in policy.__dataclass_fields__ if name.endswith("_p")]
    assert all(0 <= p <= 1 for chance in chances for p in np.atleast_1d(chance))


@pytest.mark.parametrize("modality", GREYSCALE)
def test_medical_never_colours_a_greyscale_modality(modality):
    policy = policy_for("medical", modality)
    assert policy.saturation == policy.hue == policy.hed_sigma == 0


def test_medical_mirrors_only_what_could_be_another_acquisition():
    table = {name: policy_for("medical", name) for name in MODALITIES}
    assert {name for name in MODALITIES if table[name].flip_v_p} == {"cfp", "derm", "path"}
    assert {name for name in MODALITIES if not table[name].flip_h_p} == {"ct", "cxr"}
    assert {name for name in MODALITIES if table[name].quarter_turns} == {"path"}
    assert {name for name in MODALITIES if table[name].hed_sigma} == {"path"}
    assert all(policy.corners == "reflect" for policy in table.values())
    assert not any(policy.grayscale_p or any(policy.solarise_p) for policy in table.values())


def test_a_modality_without_a_row_is_refused_with_the_row_to_add_except_by_presets_of_one_row():
    with pytest.raises(ConfigError, match=r"'mammography'[^$]*\[mammography\][^$]*augment.policy_file"):
        policy_for("medical", "mammography")
    assert policy_for("released", "mammography") is policy_for("released", "ct")
    assert policy_for("seed", "mammography") is policy_for("seed", "ct")


def test_released_and_seed_hold_the_numbers_of_the_method():
    released, seed = policy_for("released", "cxr"), policy_for("seed", "cxr")
    assert (released.rotation_deg, released.corners) == (30.0, "black")
    assert (released.global_scale, released.local_scale) == ((0.2, 1.0), (0.05, 0.2))
    assert (released.brightness, released.contrast, released.saturation, released.hue) == (0.2, 0.2, 0.1, 0.02)
    assert (released.blur_p, released.blur_sigma_px) == ((1.0, 0.1, 0.5), (0.1, 1.0))
    assert (seed.global_scale, seed.local_scale) == ((0.4, 1.0), (0.05, 0.4))
    assert (seed.brightness, seed.contrast, seed.saturation, seed.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (seed.blur_sigma_px, seed.solarise_p, seed.rotation_deg) == ((0.1, 2.0), (0.0, 0.2, 0.0), 0.0)


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"seed \| released \| medical"):
        policy_for("strong", "ct")


def test_seed_normalises_with_imagenet_and_released_with_its_own_constants():
    seed = normalisation("seed", ("ct", "newscan"), {})
    released = normalisation("released", ("derm", "oct"), {})
    np.testing.assert_allclose(seed.mean, [[0.485, 0.456, 0.406]] * 2, rtol=1e-6)
    np.testing.assert_allclose(released.mean, [[0.6614, 0.5189, 0.4715], [0.1983] * 3], rtol=1e-6)
    np.testing.assert_allclose(released.std, [[0.2396, 0.2199, 0.2286], [0.2217] * 3], rtol=1e-6)
    assert released.std.dtype == np.float32


def test_medical_and_unknown_modalities_normalise_with_the_stats_of_the_collection():
    stats = {"newscan": {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2]}}
    for preset in ("medical", "released"):
        np.testing.assert_allclose(normalisation(preset, ["newscan"], stats).mean, [[0.1, 0.2, 0.3]], rtol=1e-6)


@pytest.mark.parametrize(
    "row", [None, {"mean": [0.5] * 3}, {"mean": [0.5] * 3, "std": [0.0] * 3}, {"mean": 1, "std": 1}]
)
def test_missing_or_unusable_stats_name_the_command_that_makes_them(row):
    with pytest.raises(ConfigError, match="mermed-shard stats"):
        normalisation("medical", ("ct",), {"ct": row} if row else {})


def test_the_longest_crop_side_follows_from_scale_and_ratio():
    table = policy_table("released", MODALITIES)
    assert table.largest_side("global_scale") == 1.0
    assert table.largest_side("local_scale") == pytest.approx((0.2 * 4 / 3) ** 0.5)
    narrow = PolicyTable((replace(table.policies[0], ratio=(0.5, 1.0)),))
    assert narrow.largest_side("local_scale") == pytest.approx((0.2 * 2) ** 0.5)


def test_drawing_needs_no_torch():
    names = "mermed.augment.draw, mermed.augment.geometry, mermed.augment.stain"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
