"""Our engines as contestants: the same draws, applied by each; drawing them is part of the time."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32

from crops.border import Maker, Views
from crops.work import GLOBAL_PX, LOCAL_PX, NUM_GLOBAL, NUM_LOCAL, PRESET, Work
from mermed.augment.draw import PolicyTable, draw_views, policy_table
from mermed.augment.engine import build_crops
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, CropBatch, EncodedBatch, Position
from mermed.config import AugmentConfig
from mermed.contract import SampleMeta

REFERENCE, OTHERWISE = "kornia", "torch"
"""The engine that the others are compared with, and the one where Kornia is not installed."""
ENGINES = {"cpu": ("torch", "cpu", "dali", "kornia"), "cuda": ("torch", "kornia")}
COMPILED = "torch, compiled"

Draws = Float32[np.ndarray, "batch views fields"]
Engine = Callable[[Draws], CropBatch]


def draws_of(work: Work, first_slot: int = 0) -> Draws:
    """The rows of draws of the batch as if it lay at `first_slot`."""
    return draw_views(
        policy_table(PRESET, work.modalities),
        seed=0,
        slot=np.arange(first_slot, first_slot + len(work)),
        modality=work.modality,
        size_px=np.full((len(work), 2), work.canvas_px, np.int32),
        num_global=NUM_GLOBAL,
        num_local=NUM_LOCAL,
    )


def build_engine(work: Work, name: str) -> Engine:
    """The engine `name` on the images of `work`, which lie on its device.

    Raises ImportError or MermedError where there is no such engine, with the reason.
    """
    policies = policy_table(PRESET, work.modalities)
    constants = Normalisation(mean=_rows(work.mean, work), std=_rows(work.std, work))
    if name == "dali":
        return _dali(work, policies, constants)
    device = torch.device(work.device)
    if name == COMPILED:
        from mermed.augment.torch_crops import TorchCrops

        crops = TorchCrops(policies, constants, **_sizes(), canvas_px=work.canvas_px, device=device, compiled=True)
    else:
        config = AugmentConfig(policy=PRESET, engine=name)  # type: ignore[arg-type]
        crops = build_crops(config, policies, constants, work.canvas_px, device, num_threads=1)
    canvases = _canvases(work, device)
    return lambda draws: crops(canvases, draws)


def build_reference(work: Work) -> tuple[str, Engine]:
    """The engine that the others are compared with, and its name."""
    try:
        return REFERENCE, build_engine(work, REFERENCE)
    except ImportError:
        return OTHERWISE, build_engine(work, OTHERWISE)


def maker_of(work: Work, engine: Engine) -> Maker:
    """Draw the next batch's views and make them."""
    numbers = itertools.count(step=len(work))
    return lambda: views_of(engine(draws_of(work, next(numbers))))


def views_of(crops: CropBatch) -> Views:
    """The views of a batch one by one."""
    return [*crops.global_crops, *crops.local_crops]


def _dali(work: Work, policies: PolicyTable, constants: Normalisation) -> Engine:
    from mermed.augment.dali_crops import DaliCrops

    crops = DaliCrops(
        policies,
        constants,
        **_sizes(),
        num_local=NUM_LOCAL,
        batch=len(work),
        num_threads=1,
        device=torch.device(work.device),
    )
    encoded = EncodedBatch(
        images=work.encoded,
        meta=_meta(work),
        modality=work.modality,
        slot=np.arange(len(work)),
        position=Position(len(work)),
    )
    return lambda draws: crops(encoded, draws)


def _sizes() -> dict[str, int]:
    return {"global_px": GLOBAL_PX, "local_px": LOCAL_PX, "num_global": NUM_GLOBAL}


def _rows(values: tuple[float, float, float], work: Work) -> Float32[np.ndarray, "modalities 3"]:
    return np.tile(np.asarray(values, np.float32), (len(work.modalities), 1))


def _canvases(work: Work, device: torch.device) -> CanvasBatch:
    """Canvases as the loader's ring holds them: channels innermost, on a GPU already there."""
    return CanvasBatch(
        pixels=torch.from_numpy(work.pixels).to(device).permute(0, 3, 1, 2),
        size_px=torch.full((len(work), 2), work.canvas_px, dtype=torch.int32),
        modality=torch.from_numpy(work.modality).to(device),
        slot=np.arange(len(work)),
        meta=_meta(work),
        position=Position(len(work)),
    )


def _meta(work: Work) -> tuple[SampleMeta, ...]:
    return tuple(
        SampleMeta(
            key=f"image-{number:06d}",
            modality=work.modalities[modality],
            dataset="bench",
            split="train",
            group=f"group-{number:06d}",
            width=work.canvas_px,
            height=work.canvas_px,
            source_bits=8,
        )
        for number, modality in enumerate(work.modality)
    )
