"""torchvision v2 as its documentation shows it: one Compose per view, called per image, on uint8 tensors."""

import math

import torch
from torchvision.transforms import v2

from crops.border import Maker, Views
from crops.work import SIDES_PX, Work

TITLE = "torchvision v2 (per image)"
REQUIREMENTS = ()
SUPPORTS = frozenset({"cpu", "cuda"})
LEAVES_OUT = ""


def chain_of(work: Work, view: int) -> v2.Compose:
    """The transforms of one view; the blur reaches four sigmas, as far as Pillow's."""
    policy = work.policy
    jitter = v2.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue)
    blur = v2.GaussianBlur(2 * math.ceil(4 * policy.blur_sigma_px[1]) + 1, policy.blur_sigma_px)
    return v2.Compose(
        [
            v2.RandomRotation(policy.rotation_deg),
            v2.RandomResizedCrop(
                SIDES_PX[view], work.scale(view), policy.ratio, v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomHorizontalFlip(policy.flip_h_p),
            v2.RandomApply([jitter], policy.jitter_p),
            v2.RandomApply([blur], work.blur_p(view)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(work.mean), list(work.std)),
        ]
    )


def build(work: Work) -> Maker:
    # (batch, side, side, 3) -> (batch, 3, side, side), one image after the other in memory
    images = torch.from_numpy(work.pixels).permute(0, 3, 1, 2).contiguous().to(work.device)
    chains = [chain_of(work, view) for view in range(len(SIDES_PX))]

    def make() -> Views:
        per_image = [[chain(image) for chain in chains] for image in images]
        return [torch.stack(views) for views in zip(*per_image, strict=True)]

    return make
