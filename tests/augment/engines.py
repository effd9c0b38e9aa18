"""The engines that must keep the promises of test_engines.py, each built as a run builds it."""

import torch

from mermed.augment.engine import build_crops
from mermed.config import AugmentConfig

ENGINES = ("kornia", "torch", "cpu")
ON_TORCH = ("kornia", "torch")
"""Those whose work is tensor operations on the device they are given."""


def build(name, table, normalisation, *, canvas_px=128, device="cpu", **settings):
    sizes = {"global_px": 96, "local_px": 48, "num_global": 2, "num_local": 3}
    config = AugmentConfig(engine=name, **(sizes | settings))
    return build_crops(config, table, normalisation, canvas_px, torch.device(device))
