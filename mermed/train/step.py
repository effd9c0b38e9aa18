"""One training step: embeddings, loss, finite check, update, teacher, queue."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import xxhash
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mermed import keyed
from mermed.batch import CropBatch, ViewBatch
from mermed.config import RunConfig
from mermed.errors import DivergenceError
from mermed.model.memory_queue import MemoryQueue
from mermed.model.student_teacher import StudentTeacher
from mermed.train.losses import memory_losses, teacher_entropy
from mermed.train.optim import build_optimizer, clip_gradients, finite, set_schedule
from mermed.train.schedules import StepSchedule, at
from mermed.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step computed on this rank, still on the device, and what all ranks agreed on."""

    losses: Float[Tensor, " batch"]
    entropies: Float[Tensor, " batch"]
    modality: Int64[Tensor, " batch"]
    gradient_norm: Float[Tensor, ""]
    schedule: StepSchedule
    audit: int
    stop_asked: bool


class Trainer:
    """The networks, queue and optimiser of a run, and the step that moves them."""

    def __init__(
        self,
        config: RunConfig,
        model: StudentTeacher,
        world: World,
        device: torch.device,
    ) -> None:
        self.config = config
        self.world = world
        self.device = device
        self.model = model.to(device)
        self.queue = MemoryQueue(config.queue.rows, config.model.embedding).to(device)
        self.optimizer = build_optimizer(self.model.student, config)
        self._student: nn.Module = self.model.student
        if world.num_ranks > 1:
            self._student = DistributedDataParallel(self.model.student, broadcast_buffers=False)

    def step(self, batch: ViewBatch, step: int, stop_asked: bool = False) -> StepResult:
        """Train on the views of one batch of this rank as step number `step` (0-based).

        Raises DivergenceError on every rank, before any update, when a rank's loss or gradient is not finite.
        """
        config, schedule, crops = self.config, at(self.config, step), batch.crops
        torch.manual_seed(keyed.key("stochastic depth", config.seed, step, self.world.rank) >> 1)
        with self._autocast():
            student = self._student(crops.global_crops, crops.local_crops)
            teacher = self.model.embed_teacher(crops)
        losses, entropies = self._losses(student, teacher, crops, schedule, step)
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        norm = clip_gradients(self.model.student.parameters(), config.optim.clip, config.optim.clip_by)
        is_finite = finite(losses.mean(), norm)
        all_finite, any_stop, audit = self._agree(is_finite, stop_asked, batch_audit(batch))
        if not all_finite:
            raise DivergenceError(
                f"the loss or a gradient is not finite at step {step}; the weights were not updated",
                where={"first key": batch.meta[0].key, "slots up to": batch.position.slots},
                found=f"loss {losses.mean().item()}, gradient norm {norm.item()} on rank {self.world.rank}",
                next_step="start again with a smaller --set optim.lr=X, or with --set train.precision=fp32",
            )
        set_schedule(self.optimizer, schedule.lr, schedule.weight_decay)
        self.optimizer.step()
        self.model.update_teacher(schedule.ema)
        self._write_queue(teacher[1], crops.modality, batch.position.slots)
        return StepResult(
            losses=losses.detach(),
            entropies=entropies,
            modality=crops.modality,
            gradient_norm=norm,
            schedule=schedule,
            audit=audit,
            stop_asked=any_stop,
        )

    def _losses(
        self, student: Tensor, teacher: Tensor, crops: CropBatch, schedule: StepSchedule, step: int
    ) -> tuple[Tensor, Tensor]:
        """Per-image losses (with gradient) and entropies of the teacher over its blocks, in nats."""
        config, queue = self.config, self.queue
        shared = {
            "permutation": queue.permutation(config.seed, step),
            "num_blocks": config.queue.blocks,
            "teacher_temp": schedule.teacher_temp,
            "gate": config.queue.gate,
        }
        rows = (queue.keys, queue.row_modality, crops.modality)
        losses = memory_losses(student, teacher, *rows, student_temp=config.train.student_temp, **shared)
        return losses, teacher_entropy(teacher, *rows, **shared)

    def _write_queue(self, embeddings: Tensor, modality: Tensor, slots: int) -> None:
        """Write the global batch, in slot order: ranks hold contiguous slots, so rank-major is slot-major."""
        if self.world.num_ranks > 1:
            embeddings = torch.cat(all_gathered(embeddings.contiguous()))
            modality = torch.cat(all_gathered(modality.contiguous()))
        self.queue.write(embeddings, modality, slots - len(modality))

    def _agree(self, is_finite: Tensor, stop_asked: bool, audit: int) -> tuple[bool, bool, int]:
        """All ranks finite? Any rank asked to stop? The sum of the audits (mod 2^64)."""
        if self.world.num_ranks == 1:
            return bool(is_finite), stop_asked, audit
        signed = audit - (1 << 64) if audit >= 1 << 63 else audit
        flags = torch.tensor([0, int(stop_asked), signed], dtype=torch.int64, device=self.device)
        flags[0] = (~is_finite).long()
        dist.all_reduce(flags)
        num_bad, num_stop, total = flags.tolist()
        return num_bad == 0, num_stop > 0, total % (1 << 64)

    def _autocast(self) -> AbstractContextManager[object]:
        if uses_bf16(self.config, self.device):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def uses_bf16(config: RunConfig, device: torch.device) -> bool:
    """True when the networks run in bfloat16: asked for, or automatic on a GPU that has it."""
    if config.train.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.train.precision == "bf16"


def batch_audit(batch: ViewBatch) -> int:
    """A 64-bit sum over (slot, key, drawn parameters): the same for any split of the slots over ranks and batches."""
    total = 0
    for slot, meta, row in zip(batch.slot, batch.meta, batch.draws, strict=True):
        content = int(slot).to_bytes(8, "little") + meta.key.encode() + np.ascontiguousarray(row).tobytes()
        total += xxhash.xxh3_64_intdigest(content)
    return total % (1 << 64)


def all_gathered(tensor: Tensor) -> list[Tensor]:
    """The tensor of every rank, in the order of ranks; every rank must ask."""
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, tensor)
    return gathered
