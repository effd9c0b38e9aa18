"""Kornia as its documentation shows it: an AugmentationSequential per view, called on the batch."""

import math

import torch
from kornia import augmentation
from kornia.constants import Resample

from crops.border import Maker, Views
from crops.work import SIDES_PX, Work

TITLE = "Kornia (as documented)"
REQUIREMENTS = ()
SUPPORTS = frozenset({"cpu", "cuda"})
LEAVES_OUT = "no antialiasing; one order of the jitters for the whole batch"


def chain_of(work: Work, view: int) -> augmentation.AugmentationSequential:
    """The transforms of one view, on a whole batch."""
    policy = work.policy
    kernel_px = 2 * math.ceil(4 * policy.blur_sigma_px[1]) + 1
    side_px = SIDES_PX[view]
    return augmentation.AugmentationSequential(
        augmentation.RandomRotation(policy.rotation_deg, resample=Resample.NEAREST),
        augmentation.RandomResizedCrop(
            (side_px, side_px), scale=work.scale(view), ratio=policy.ratio, resample=Resample.BICUBIC
        ),
        augmentation.RandomHorizontalFlip(p=policy.flip_h_p),
        augmentation.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue, p=policy.jitter_p),
        augmentation.RandomGaussianBlur((kernel_px, kernel_px), policy.blur_sigma_px, p=work.blur_p(view)),
        augmentation.Normalize(torch.tensor(work.mean), torch.tensor(work.std)),
        data_keys=["input"],
    )


def build(work: Work) -> Maker:
    pixels = torch.from_numpy(work.pixels).permute(0, 3, 1, 2).contiguous().to(work.device)
    chains = [chain_of(work, view).to(work.device) for view in range(len(SIDES_PX))]

    @torch.no_grad()
    def make() -> Views:
        images = pixels.float().div_(255.0)
        return [chain(images) for chain in chains]

    return make
