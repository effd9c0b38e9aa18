"""How views of each modality may vary: one table of policies per preset, and the constants views are normalised with.

A policy only states ranges; `draw.py` draws from them and an engine applies what was drawn. Every row carries its
reason and its source. The rows of `medical` follow one rule: a view must still be an image that could have been
acquired, so nothing is mirrored, turned or recoloured beyond that. They are hypotheses until an ablation confirms them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from mermed.errors import ConfigError

Span = tuple[float, float]
PerKind = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The ranges one modality's views are drawn from. A span is (low, high); `_p` is a probability per view.

    A `PerKind` value holds one number each for the first global view, the other global views and the local views.
    Brightness, contrast and saturation are the reach a of a factor in [1 - a, 1 + a]; hue is that of a shift in turns
    of the colour circle; `gamma` is the span of an exponent. `jitter_p` switches all five at once.
    """

    reason: str
    source: str
    global_scale: Span = (0.2, 1.0)
    """Area of a global view as a share of the image."""
    local_scale: Span = (0.05, 0.2)
    """Area of a local view as a share of the image."""
    ratio: Span = (3 / 4, 4 / 3)
    """Width over height of a crop."""
    rotation_deg: float = 0.0
    """Largest rotation either way."""
    corners: Literal["black", "reflect"] = "reflect"
    """black: turn the whole image about its centre, then crop; reflect: turn the crop about its own centre and mirror
    the image at the edges of its valid area."""
    quarter_turns: bool = False
    """Whether views are turned by 0, 90, 180 or 270 degrees, all equally likely."""
    flip_h_p: float = 0.0
    flip_v_p: float = 0.0
    jitter_p: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gamma: Span = (1.0, 1.0)
    hed_sigma: float = 0.0
    """Reach of the jitter of stain concentrations: scale in 1 +- sigma, shift in +- sigma of optical density."""
    invert_p: float = 0.0
    grayscale_p: float = 0.0
    blur_p: PerKind = (0.0, 0.0, 0.0)
    blur_sigma_px: Span = (0.1, 1.0)
    """Standard deviation of the blur, in pixels of the view."""
    solarise_p: PerKind = (0.0, 0.0, 0.0)
    foreground: float = 0.0
    """Least share of a crop's area that should show something; 0 takes the first crop that fits, whatever it shows."""
    window_level: float = 0.0
    """Reach of the shift of the window of a 16-bit image, in widths of that window; drawn for each view."""
    window_width: float = 0.0
    """Reach a of the factor on the width of that window, in [exp(-a), exp(a)]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation of each modality's images per channel, in [0, 1], rows in modality order."""

    mean: Float32[np.ndarray, "modalities 3"]
    std: Float32[np.ndarray, "modalities 3"]


_BLUR_P: PerKind = (1.0, 0.1, 0.5)

# One row for every modality: these two presets exist to reproduce what others did, not to be right for each.
_SEED = Policy(
    reason="the augmentation of DINO without its grayscale, with flips but no rotation",
    source="the digest this project started from (METHOD [S]); Caron et al. 2021, arXiv 2104.14294",
    global_scale=(0.4, 1.0),
    local_scale=(0.05, 0.4),
    flip_h_p=0.5,
    jitter_p=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    blur_p=_BLUR_P,
    blur_sigma_px=(0.1, 2.0),
    solarise_p=(0.0, 0.2, 0.0),
)
_RELEASED = Policy(
    reason="weak colour, rotation with black corners, no solarisation",
    source="the released training code of MerMED-FM (METHOD [R])",
    rotation_deg=30.0,
    corners="black",
    flip_h_p=0.5,
    jitter_p=0.8,
    brightness=0.2,
    contrast=0.2,
    saturation=0.1,
    hue=0.02,
    blur_p=_BLUR_P,
)

_MEDICAL = {
    "cfp": Policy(
        reason="the field is a disc, so any turn is a camera position and a mirrored eye is the fellow eye; "
        "colour is diagnostic (haemorrhage, exudate) and is kept nearly as it is",
        source="geometry: the optics of a fundus camera; ranges: half of METHOD [R], not ablated",
        rotation_deg=180.0,
        flip_h_p=0.5,
        flip_v_p=0.5,
        jitter_p=0.8,
        brightness=0.2,
        contrast=0.2,
        saturation=0.1,
        hue=0.02,
        blur_p=_BLUR_P,
    ),
    "ct": Policy(
        reason="a mirrored slice puts the liver on the left, so no flips; the table tilts by degrees; brightness and "
        "contrast are a small window jitter, more would break calibrated densities; "
        "larger local crops because 5 % of a slice is often air, and not too much air in any: of a chest at a "
        "soft window, an eighth of the local crops were 70 % black, and half were half black because lungs are, hence "
        "0.3 and no more; windows are set by hand, so a deep image's moves by a tenth of its width (40 HU of 400)",
        source="no photometric jitter on HU data: DINO-X on LIDC (lawrenz.com 2026, a blog); foreground: counted on 14 "
        "slices of TCGA-LUAD at 40/400 and 70 of heads, where it hardly matters; ranges not ablated",
        global_scale=(0.3, 1.0),
        local_scale=(0.1, 0.3),
        rotation_deg=10.0,
        jitter_p=0.8,
        brightness=0.1,
        contrast=0.1,
        gamma=(0.9, 1.1),
        blur_p=_BLUR_P,
        blur_sigma_px=(0.1, 0.7),
        foreground=0.3,
        window_level=0.1,
        window_width=0.2,
    ),
    "cxr": Policy(
        reason="a mirrored chest is situs inversus and swaps the side of a finding, so no flips; patients tilt by "
        "degrees; exposure varies (gamma); some archives hold MONOCHROME1 images that were never inverted back; "
        "larger local crops because 5 % may hold no lung; the window of a deep image moves little, since exposure has "
        "its own jitter",
        source="DICOM PS3.3 C.7.6.3.1.2 (MONOCHROME1) for the inversion; ranges not ablated",
        global_scale=(0.3, 1.0),
        local_scale=(0.1, 0.3),
        rotation_deg=10.0,
        jitter_p=0.8,
        brightness=0.2,
        contrast=0.2,
        gamma=(0.8, 1.25),
        invert_p=0.05,
        blur_p=_BLUR_P,
        window_level=0.05,
        window_width=0.1,
    ),
    "derm": Policy(
        reason="skin has no up or side; colour is diagnostic and is kept nearly as it is; "
        "larger local crops because 5 % may miss the lesion",
        source="geometry: dermoscopes are held at any angle; ranges: METHOD [R], not ablated",
        local_scale=(0.1, 0.3),
        rotation_deg=180.0,
        flip_h_p=0.5,
        flip_v_p=0.5,
        jitter_p=0.8,
        brightness=0.2,
        contrast=0.2,
        saturation=0.1,
        hue=0.02,
        blur_p=_BLUR_P,
    ),
    "oct": Policy(
        reason="a mirrored B-scan is the fellow eye; upside down would turn the order of the layers; the retina tilts "
        "with the beam; blur stays small, speckle carries the texture; "
        "larger local crops because 5 % is often vitreous or choroid alone, and of a B-scan of 109 px a crop of 22",
        source="geometry: the optics of a B-scan; ranges not ablated; local crops: seen on 40 real B-scans",
        local_scale=(0.1, 0.3),
        rotation_deg=10.0,
        flip_h_p=0.5,
        jitter_p=0.8,
        brightness=0.2,
        contrast=0.2,
        blur_p=_BLUR_P,
        blur_sigma_px=(0.1, 0.7),
    ),
    "path": Policy(
        reason="tissue has no up or side, but turns other than quarters interpolate nuclei; stains vary between "
        "laboratories; narrow scales and ratios because the size and shape of a cell are findings",
        source="HED-light of Tellez et al. 2019, arXiv 1902.06543; quarter turns: arXiv 2412.11938; "
        "shape kept: Virchow2, arXiv 2408.00738 (which crops at 0.9-1.1); ranges not ablated",
        global_scale=(0.4, 1.0),
        local_scale=(0.1, 0.25),
        ratio=(0.9, 1.1),
        quarter_turns=True,
        flip_h_p=0.5,
        flip_v_p=0.5,
        jitter_p=0.8,
        brightness=0.1,
        contrast=0.1,
        saturation=0.05,
        hue=0.02,
        hed_sigma=0.05,
        blur_p=_BLUR_P,
    ),
    "us": Policy(
        reason="a turned probe mirrors the image; depth runs downward (attenuation, shadows), so no vertical flip; "
        "gain and dynamic range vary (gamma); blur stays small, speckle carries the texture; "
        "larger local crops because 5 % may leave the fan, and half of a crop should lie in it: an eighth of the local "
        "crops of fans were more than half black, 4 % by more than 70 %",
        source="geometry: how a probe is held; local crops: arXiv 2504.07904; foreground: counted on 7 frames of POCUS "
        "lung fans, and on 100 of BUSI, which fill the frame and hardly need it; ranges not ablated",
        global_scale=(0.3, 1.0),
        local_scale=(0.1, 0.3),
        rotation_deg=10.0,
        flip_h_p=0.5,
        jitter_p=0.8,
        brightness=0.2,
        contrast=0.2,
        gamma=(0.8, 1.25),
        blur_p=_BLUR_P,
        blur_sigma_px=(0.1, 0.7),
        foreground=0.5,
    ),
}

_PRESETS: dict[str, Mapping[str, Policy] | Policy] = {"seed": _SEED, "released": _RELEASED, "medical": _MEDICAL}
"""A row for each modality, or one row for all."""

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_RELEASED_CONSTANTS = {
    "cfp": ((0.3378, 0.2133, 0.1329), (0.2964, 0.1900, 0.1393)),
    "ct": ((0.3301, 0.3301, 0.3301), (0.3252, 0.3252, 0.3252)),
    "cxr": ((0.5076, 0.5076, 0.5076), (0.3122, 0.3122, 0.3122)),
    "derm": ((0.6614, 0.5189, 0.4715), (0.2396, 0.2199, 0.2286)),
    "oct": ((0.1983, 0.1983, 0.1983), (0.2217, 0.2217, 0.2217)),
    "path": ((0.7214, 0.6050, 0.7054), (0.2486, 0.2714, 0.2457)),
    "us": ((0.1469, 0.1469, 0.1469), (0.1806, 0.1806, 0.1806)),
}


def policy_for(preset: str, modality: str) -> Policy:
    """The policy of `modality` in `preset`; `seed` and `released` have one for all.

    Raises ConfigError for an unknown preset, and for a modality that `medical` has no row of.
    """
    _check_preset(preset)
    rows = _PRESETS[preset]
    if isinstance(rows, Policy):
        return rows
    if modality not in rows:
        raise ConfigError(
            f"the augmentation preset '{preset}' has no policy for '{modality}'",
            where={"modality": modality},
            expected=" | ".join(rows),
            next_step=f"write a table [{modality}] with a reason, a source and its ranges into a TOML file "
            '(like = "ct" starts from a known row) and give it as augment.policy_file',
        )
    return rows[modality]


def normalisation(preset: str, modalities: Sequence[str], stats: Mapping[str, Mapping[str, Any]]) -> Normalisation:
    """The constants views are normalised with: ImageNet's in `seed`, the released ones, or the collection's own.

    `stats` is the manifest's: modality -> {"mean": [3], "std": [3]} in [0, 1]. `medical` takes all of its constants
    from there, `released` those of modalities it does not know. Raises ConfigError where they are missing or unusable.
    """
    _check_preset(preset)
    known: Mapping[str, tuple[Any, Any]] = {"released": _RELEASED_CONSTANTS}.get(preset, {})
    if preset == "seed":
        known = dict.fromkeys(modalities, _IMAGENET)
    rows = [known[name] if name in known else _from_stats(preset, name, stats) for name in modalities]
    constants = np.asarray(rows, np.float32).reshape(len(rows), 2, 3)
    return Normalisation(mean=constants[:, 0], std=constants[:, 1])


def _check_preset(preset: str) -> None:
    if preset not in _PRESETS:
        raise ConfigError(f"no augmentation preset '{preset}'", expected=" | ".join(_PRESETS), found=preset)


def _from_stats(preset: str, modality: str, stats: Mapping[str, Mapping[str, Any]]) -> tuple[Any, Any]:
    """The (mean, std) of one modality out of a manifest's `stats`."""
    row = stats.get(modality, {})
    mean, std = row.get("mean", ()), row.get("std", ())
    if not (_is_triple(mean) and _is_triple(std) and min(std) > 0):
        raise ConfigError(
            f"the collection holds no usable mean and standard deviation of '{modality}', which the augmentation "
            f"preset '{preset}' normalises with",
            where={"modality": modality},
            expected="three means and three positive standard deviations in [0, 1]",
            found=sorted(row) or "nothing",
            next_step="mermed-shard stats DATA",
        )
    return mean, std


def _is_triple(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == 3
        and all(isinstance(value, int | float) and 0.0 <= value <= 1.0 for value in values)
    )
