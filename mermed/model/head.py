"""The projection head: three linear layers from the encoder's width to unit embeddings."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mermed import keyed

NORM_EPS = 1e-6
WEIGHT_STD = 0.02


class ProjectionHead(nn.Module):
    """Linear, BN, GELU, Linear, BN, GELU, Linear, then L2-normalised (METHOD; 768-2048-2048-256 in the paper).

    Weights are drawn from a truncated normal of deviation 0.02, biases are 0. A layer followed by batch normalisation
    has no bias, which the normalisation would cancel: the optimiser would only move it by noise.
    """

    def __init__(self, width: int, hidden: int, embedding: int, *, batch_norm: bool, seed: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (width, hidden):
            layers.append(nn.Linear(inputs, hidden, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.GELU())
        layers.append(nn.Linear(hidden, embedding))
        self.layers = nn.Sequential(*layers)
        generator = torch.Generator().manual_seed(keyed.key("head weights", seed))
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=WEIGHT_STD, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        """Unit embeddings, in float32 also under autocast (a vector shorter than 1e-6 is not stretched to 1)."""
        projected = self.layers(tokens)
        if projected.dtype in (torch.bfloat16, torch.float16):
            projected = projected.float()
        with torch.autocast(projected.device.type, enabled=False):
            return functional.normalize(projected, dim=-1, eps=NORM_EPS)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Make batch normalisation see the batch of all ranks, where several ranks hold a GPU each; else return `module`.

    torch's SyncBatchNorm has no CPU kernel, so ranks on CPU (Gloo) normalise over their own part of the batch.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1 and dist.get_backend() == "nccl":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module
