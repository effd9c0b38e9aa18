"""lightly's DINOTransform, the transform of a common self-supervised library, per image on Pillow images."""

import torch
from lightly.transforms import DINOTransform

from crops.border import Maker, Views
from crops.work import GLOBAL_PX, LOCAL_PX, NUM_LOCAL, Work

TITLE = "lightly DINOTransform (PIL)"
REQUIREMENTS = ("lightly==1.6.0",)
SUPPORTS = frozenset({"cpu"})
LEAVES_OUT = "turns the view after the crop; its own ratios"


def transform_of(work: Work) -> DINOTransform:
    """All views of an image, the policy's ranges as far as it has a parameter for them."""
    policy = work.policy
    return DINOTransform(
        global_crop_size=GLOBAL_PX,
        global_crop_scale=policy.global_scale,
        local_crop_size=LOCAL_PX,
        local_crop_scale=policy.local_scale,
        n_local_views=NUM_LOCAL,
        hf_prob=policy.flip_h_p,
        vf_prob=0.0,
        rr_prob=1.0,
        rr_degrees=policy.rotation_deg,
        cj_prob=policy.jitter_p,
        cj_strength=1.0,
        cj_bright=policy.brightness,
        cj_contrast=policy.contrast,
        cj_sat=policy.saturation,
        cj_hue=policy.hue,
        random_gray_scale=0.0,
        gaussian_blur=policy.blur_p,
        sigmas=policy.blur_sigma_px,
        solarization_prob=0.0,
        normalize={"mean": list(work.mean), "std": list(work.std)},
    )


def build(work: Work) -> Maker:
    images = work.images()
    transform = transform_of(work)

    def make() -> Views:
        return [torch.stack(views) for views in zip(*map(transform, images), strict=True)]

    return make
