"""The chain of the released MerMED code, written from its description (METHOD, views): Pillow, one view at a time.

The whole image is turned (nearest pixel, black corners), then cropped and resized, jittered and blurred, twelve times.
"""

import random

import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from crops.border import Maker, Views
from crops.work import SIDES_PX, Work

TITLE = "released chain (PIL)"
REQUIREMENTS = ()
SUPPORTS = frozenset({"cpu"})
LEAVES_OUT = ""


class Blur:
    """Pillow's blur with a radius drawn per image."""

    def __init__(self, sigma_px: tuple[float, float]) -> None:
        self._sigma_px = sigma_px

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self._sigma_px)))


def chain_of(work: Work, view: int) -> transforms.Compose:
    """The transforms of one view."""
    policy = work.policy
    jitter = transforms.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue)
    return transforms.Compose(
        [
            transforms.RandomRotation(policy.rotation_deg),
            transforms.RandomResizedCrop(
                SIDES_PX[view], work.scale(view), policy.ratio, transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(policy.flip_h_p),
            transforms.RandomApply([jitter], policy.jitter_p),
            transforms.RandomApply([Blur(policy.blur_sigma_px)], work.blur_p(view)),
            transforms.ToTensor(),
            transforms.Normalize(work.mean, work.std),
        ]
    )


def build(work: Work) -> Maker:
    images = work.images()
    chains = [chain_of(work, view) for view in range(len(SIDES_PX))]

    def make() -> Views:
        per_image = [[chain(image) for chain in chains] for image in images]
        return [torch.stack(views) for views in zip(*per_image, strict=True)]

    return make
