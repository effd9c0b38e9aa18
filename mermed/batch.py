"""The values that flow through a training step, and the legend of their axes.

B batch (images per rank and step), V = G + L views: G global and L local crops, M modalities, S canvas side in pixels,
P embedding width, K queue rows. Axes are written as words in annotations: batch, views, global, local, side, dim, rows.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, UInt8
from torch import Tensor

from mermed.contract import SampleMeta


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: the slots consumed once the batch that carries this has been trained on."""

    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBatch:
    """Images as they lie in the shards, in slot order.

    `images` holds JPEG or PNG bytes, `modality` indexes the run's modality names, `slot` is the global slot of each
    image.
    """

    images: tuple[bytes, ...]
    meta: tuple[SampleMeta, ...]
    modality: Int64[np.ndarray, " batch"]
    slot: Int64[np.ndarray, " batch"]
    position: Position

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasBatch:
    """Decoded images, each at the top left of a square canvas whose rest is zero.

    `pixels` is RGB in [0, 255] (grey images repeat their value), `size_px` the valid (height, width) of each image. The
    buffers belong to the decoder's ring: they stay valid until the next batch is asked for.
    """

    pixels: UInt8[Tensor, "batch 3 side side"]
    size_px: Int32[Tensor, "batch 2"]
    modality: Int64[Tensor, " batch"]
    slot: Int64[np.ndarray, " batch"]
    meta: tuple[SampleMeta, ...]
    position: Position
    window: Float32[np.ndarray, "batch 2"] | None = None
    """For canvases of 16 bits, which hold the high byte in red and the low byte in green: the lowest and highest value
    that their window shows, as shares of 65,535. NaN for canvases of 8 bits; None when all are."""
    content: Bool[np.ndarray, "batch rows columns"] | None = None
    """Which cells of a regular grid over each image's valid area show something, where that was asked for."""

    def __len__(self) -> int:
        return len(self.meta)


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBatch:
    """The views of a batch, normalised per modality (zero mean, unit variance over the modality's training images)."""

    global_crops: Float[Tensor, "global batch 3 global_side global_side"]
    local_crops: Float[Tensor, "local batch 3 local_side local_side"]
    modality: Int64[Tensor, " batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewBatch:
    """What a step trains on: the views of a batch, the draws they were made with, and the samples they are of."""

    crops: CropBatch
    draws: Float32[np.ndarray, "batch views fields"]
    slot: Int64[np.ndarray, " batch"]
    meta: tuple[SampleMeta, ...]
    position: Position

    def __len__(self) -> int:
        return len(self.meta)
