"""AdamW with one learning rate per layer, gradient clipping and the finite check, none of which waits for the GPU."""

import re
from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mermed.config import RunConfig

BETAS = (0.9, 0.999)
EPS = 1e-8
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")
_FINAL_NORM = re.compile(r"encoder\.(norm|fc_norm)\.")
_INPUT_TOKENS = frozenset({"pos_embed", "cls_token", "reg_token", "dist_token"})


def build_optimizer(student: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    """AdamW over a network with an `encoder` of n `blocks` and a `head`, in one group per layer and kind of decay.

    Layer 0 is what comes before the blocks, layer i the i-th block (the final norm is with the last), layer n + 1 the
    head; a layer's learning rate is scaled by layer_decay^(n + 1 - i). No weight decay on 1-D tensors, the position
    embedding and the tokens put before the patches. Fused where the parameters are on a GPU.
    """
    named = [(name, parameter) for name, parameter in student.named_parameters() if parameter.requires_grad]
    num_blocks = 1 + max(int(match[1]) for name, _ in named if (match := _BLOCK.match(name)))
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named:
        layer, decays = layer_of(name, num_blocks), decays_weight(name, parameter)
        scale = config.optim.layer_decay ** (num_blocks + 1 - layer)
        new_group = {"params": [], "layer": layer, "lr_scale": scale, "decays": decays}
        groups.setdefault((layer, decays), new_group)["params"].append(parameter)
    on_gpu = all(parameter.is_cuda for _, parameter in named)
    kernels = {"fused": True} if on_gpu else {"foreach": True}
    ordered = [groups[place] for place in sorted(groups)]
    return torch.optim.AdamW(ordered, lr=config.optim.lr, betas=BETAS, eps=EPS, weight_decay=0.0, **kernels)


def layer_of(name: str, num_blocks: int) -> int:
    """The layer, 0 to num_blocks + 1, of a parameter named as in the student: `encoder.*` or `head.*`."""
    if match := _BLOCK.match(name):
        return int(match[1]) + 1
    if _FINAL_NORM.match(name):
        return num_blocks
    return 0 if name.startswith("encoder.") else num_blocks + 1


def decays_weight(name: str, parameter: Tensor) -> bool:
    """True when weight decay acts on this parameter."""
    return parameter.ndim > 1 and name.split(".")[-1] not in _INPUT_TOKENS


def set_schedule(optimizer: torch.optim.Optimizer, lr: float, weight_decay: float) -> None:
    """Set the learning rate (scaled by layer) and the weight decay (where there is any) for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], clip: float, by: Literal["tensor", "global"]) -> Float[Tensor, ""]:
    """Scale gradients in place so that no L2 norm exceeds `clip`: of each `tensor`, or of all together (`global`).

    Returns the norm of all gradients before clipping, on their device, without waiting for it. A `clip` of 0 only
    measures. A norm that is not finite spreads to the gradients it scales: check it before the update.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch._foreach_norm(gradients)  # type: ignore[attr-defined]
    total = torch.linalg.vector_norm(torch.stack(norms))
    if clip > 0 and by == "tensor":
        torch._foreach_mul_(gradients, [(clip / norm).clamp(max=1.0) for norm in norms])  # type: ignore[attr-defined]
    elif clip > 0:
        torch._foreach_mul_(gradients, (clip / total).clamp(max=1.0))  # type: ignore[attr-defined]
    return total


def finite(loss: Float[Tensor, ""], norm: Float[Tensor, ""]) -> Bool[Tensor, ""]:
    """Whether the loss and the norm of its gradients are finite, still on the device."""
    return torch.isfinite(loss.detach()) & torch.isfinite(norm)
