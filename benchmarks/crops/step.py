"""The training step that views are made for, as time on a GPU: what share of it the views may take."""

import statistics
import warnings
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from crops.border import Views
from crops.work import NUM_GLOBAL

ENCODER = "vit_base_patch16_224"
SYNC_WARNING = "synchronizing"


class EncoderStep:
    """Forward and backward of a student on all views and a forward of its teacher on the global ones, in bfloat16.

    Heads, loss, optimiser and queue are left out, so the step is shorter than a real one and the share larger.
    """

    def __init__(self, views: Views, encoder: str = ENCODER) -> None:
        device = views[0].device
        self._groups = [torch.cat(list(views[:NUM_GLOBAL])), torch.cat(list(views[NUM_GLOBAL:]))]
        self._student, self._teacher = (_encoder(encoder).to(device) for _ in range(2))
        self._teacher.requires_grad_(False)

    def __call__(self) -> Tensor:
        """One step; returns a value that depends on all of it."""
        device = self._groups[0].device.type
        self._student.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                target = self._teacher(self._groups[0]).float().mean()
            made = sum(self._student(group).float().square().mean() for group in self._groups)
        loss = made * (1.0 + target)
        loss.backward()
        return loss.detach()


def _encoder(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=0, dynamic_img_size=True)


def device_seconds(work: Callable[[], object], times: int) -> float:
    """The median time that the GPU takes for `work`, by its own clock."""
    work()
    spent = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end) / 1000.0)
    return statistics.median(spent)


def host_syncs(work: Callable[[], object]) -> int:
    """How often `work` makes Python wait for the GPU, as torch counts it; 0 also means that it may not wait at all."""
    work()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum(SYNC_WARNING in str(warning.message) for warning in caught)
