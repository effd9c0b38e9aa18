"""Which engine applies the draws: the one place where an engine's name is looked at."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from mermed.augment.draw import PolicyTable
from mermed.augment.kornia_crops import KorniaCrops
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, CropBatch
from mermed.config import AugmentConfig
from mermed.errors import ConfigError


@runtime_checkable
class Crops(Protocol):
    """What every engine does: canvases and their draws to normalised views, the same for every engine."""

    def __call__(self, canvases: CanvasBatch, draws: Float32[np.ndarray, "batch views fields"]) -> CropBatch:
        """The views that `draws` (columns: `draw.Field`) describes, on the engine's device."""
        ...


def build_crops(
    config: AugmentConfig,
    policies: PolicyTable,
    normalisation: Normalisation,
    canvas_px: int,
    device: torch.device,
    *,
    num_threads: int = 1,
) -> Crops:
    """The engine that `config.engine` names; raises ConfigError for one that does not exist."""
    if config.engine == "kornia":
        return KorniaCrops(
            policies,
            normalisation,
            global_px=config.global_px,
            local_px=config.local_px,
            num_global=config.num_global,
            canvas_px=canvas_px,
            device=device,
        )
    raise ConfigError("no such augmentation engine", expected="kornia", found=config.engine)
