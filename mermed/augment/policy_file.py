"""Policies that users write: tables of a TOML file, one per modality, laid over a row of a preset or a bare one."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mermed.augment.policy import Policy, policy_for
from mermed.config import from_mapping
from mermed.errors import ConfigError

_SPANS = ("global_scale", "local_scale", "ratio", "gamma", "blur_sigma_px")
_PER_KIND = ("blur_p", "solarise_p")
_SHARES = ("flip_h_p", "flip_v_p", "jitter_p", "invert_p", "grayscale_p", "foreground")
_REACHES = ("rotation_deg", "brightness", "contrast", "saturation", "hue", "hed_sigma", "window_level", "window_width")


def user_policies(preset: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Policy]:
    """The policy of each modality that `rows` has a table for; `like` names the row of `preset` that it starts from.

    Every table must give its own `reason` and `source`. Raises ConfigError for what is missing, unknown or no range.
    """
    return {modality: _policy(preset, modality, row) for modality, row in rows.items()}


def _policy(preset: str, modality: str, row: Mapping[str, Any]) -> Policy:
    path = f"augment.rows.{modality}"
    for name in ("reason", "source"):
        if not str(row.get(name, "")).strip():
            raise ConfigError(
                f"the policy of '{modality}' gives no {name}", expected=f'{name} = "..."', found=dict(row)
            )
    base = asdict(policy_for(preset, str(row["like"]))) if "like" in row else {}
    given = {name: value for name, value in row.items() if name != "like"}
    policy = from_mapping(Policy, {**base, **given}, f"{path}.")
    _check_ranges(policy, path)
    return policy


def _check_ranges(policy: Policy, path: str) -> None:
    for name in _SPANS:
        span = getattr(policy, name)
        _require(0 < span[0] <= span[1], f"{path}.{name}", "[low, high], 0 < low <= high", span)
    for name in ("global_scale", "local_scale"):
        _require(
            getattr(policy, name)[1] <= 1, f"{path}.{name}", "shares of the image, 1 at most", getattr(policy, name)
        )
    for name in _PER_KIND:
        kinds = getattr(policy, name)
        _require(all(0 <= p <= 1 for p in kinds), f"{path}.{name}", "numbers 0 to 1", kinds)
    for name in _SHARES:
        _require(0 <= getattr(policy, name) <= 1, f"{path}.{name}", "0 to 1", getattr(policy, name))
    for name in _REACHES:
        _require(getattr(policy, name) >= 0, f"{path}.{name}", "0 or more", getattr(policy, name))
    _require(policy.hue <= 0.5, f"{path}.hue", "0 to 0.5 turns", policy.hue)


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise ConfigError(f"'{name}' is out of range", expected=expected, found=found)
