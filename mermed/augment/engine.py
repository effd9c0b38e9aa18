"""Which engine applies the draws: the one place where an engine's name is looked at."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from mermed.augment.draw import PolicyTable
from mermed.augment.extra import extras_of
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
    batch: int = 1,
) -> Crops:
    """The engine that `config.engine` names, for `batch` images at most, with `num_threads` where it works in threads.

    Raises ConfigError for an engine that does not exist, lacks the extras, or cannot work on `device`. Each engine is
    imported here, so that none asks for the libraries of another.
    """
    _check(config, device)
    sides: dict[str, Any] = {
        "global_px": config.global_px,
        "local_px": config.local_px,
        "num_global": config.num_global,
    }
    if config.engine == "torch":
        from mermed.augment.torch_crops import TorchCrops

        compiled = config.compile == "on" or (config.compile == "auto" and device.type == "cuda")
        return TorchCrops(policies, normalisation, **sides, canvas_px=canvas_px, device=device, compiled=compiled)
    if config.engine == "kornia":
        from mermed.augment.kornia_crops import KorniaCrops

        extras = extras_of(config.extra)
        return KorniaCrops(policies, normalisation, **sides, canvas_px=canvas_px, device=device, extras=extras)
    if config.engine == "cpu":
        from mermed.augment.cpu_crops import CpuCrops

        return CpuCrops(normalisation, **sides, num_threads=num_threads)
    if config.engine == "dali":
        from mermed.augment.dali_crops import DaliCrops

        sides |= {"num_local": config.num_local, "batch": batch}
        return DaliCrops(policies, normalisation, **sides, num_threads=num_threads, device=device)
    raise ConfigError("no such augmentation engine", expected="torch | kornia | cpu | dali", found=config.engine)


def _check(config: AugmentConfig, device: torch.device) -> None:
    if config.extra and config.engine != "kornia":
        raise ConfigError(
            f"the engine '{config.engine}' has no extra transforms",
            where={"setting": "augment.extra"},
            found=", ".join(config.extra),
            next_step="--set augment.engine=kornia",
        )
    if config.engine == "cpu" and device.type != "cpu":
        raise ConfigError(
            "the engine 'cpu' makes its views on the CPU, and this run trains on a GPU",
            found=str(device),
            next_step="--set augment.engine=torch",
        )
