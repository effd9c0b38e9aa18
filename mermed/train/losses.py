"""The memory loss of MerMED-FM (the objective of MaSSL, arXiv 2407.17486, gated by modality), as attention.

With teacher t, student s, the rows M of one block and temperatures tau, the cross-entropy of one pair of views is

    CE = logsumexp(s M' / tau_s) - s . c / tau_s      where c = softmax(t M' / tau_t) M, an attention output
    d CE / d s = (o - c) / tau_s                      where o = softmax(s M' / tau_s) M, another one

so all pairs of a student view need only the sum of the c of its partners, and the gradient is known in the forward
pass: nothing larger than the embeddings is kept, and logits exist for one block at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from mermed.errors import ConfigError

NOT_WRITTEN = -1


def memory_loss(
    student: Float[Tensor, "views batch dim"],
    teacher: Float[Tensor, "global batch dim"],
    keys: Float[Tensor, "rows dim"],
    row_modality: Int64[Tensor, " rows"],
    modality: Int64[Tensor, " batch"],
    *,
    permutation: Int64[Tensor, " rows"],
    num_blocks: int,
    student_temp: float,
    teacher_temp: float,
    gate: bool = True,
) -> Float[Tensor, ""]:
    """The loss of a batch in nats: the mean of `memory_losses` over its images (METHOD, "Loss").

        L = 1 / (G V - G) * sum over g, v != g of mean over blocks j and images b of - sum_k q[g,b,j,k] log p[v,b,j,k]

    where p and q are softmaxes of the student's and the teacher's similarities to the rows of one block. Student view g
    is the crop that teacher view g saw. The public, stable form; arguments and errors as for `memory_losses`.
    """
    losses = memory_losses(
        student,
        teacher,
        keys,
        row_modality,
        modality,
        permutation=permutation,
        num_blocks=num_blocks,
        student_temp=student_temp,
        teacher_temp=teacher_temp,
        gate=gate,
    )
    return losses.mean()


def memory_losses(
    student: Float[Tensor, "views batch dim"],
    teacher: Float[Tensor, "global batch dim"],
    keys: Float[Tensor, "rows dim"],
    row_modality: Int64[Tensor, " rows"],
    modality: Int64[Tensor, " batch"],
    *,
    permutation: Int64[Tensor, " rows"],
    num_blocks: int,
    student_temp: float,
    teacher_temp: float,
    gate: bool = True,
) -> Float[Tensor, " batch"]:
    """The loss of each image in nats, averaged over pairs of views and blocks, with a gradient to `student` alone.

    `permutation` orders the queue's rows before they are cut into `num_blocks` blocks of equal size. A row with
    modality -1 is not yet written: its key is never read, and may be NaN. With `gate` an image meets only rows of its
    own modality. Where a block holds no admissible row for an image, the pair adds 0 and no gradient. Computed in
    float32 whatever the autocast state, in float64 when an input is; the logits of one block are the largest tensor.

    Raises ConfigError unless `num_blocks` divides the rows and there is a pair of views to compare.
    """
    if len(student) < max(2, len(teacher)):
        raise ConfigError(
            "the memory loss compares each teacher view with another student view",
            expected=f"at least {max(2, len(teacher))} student views",
            found=len(student),
        )
    queue = _Queue(keys.detach(), row_modality, modality, permutation, num_blocks, gate)
    with torch.autocast(student.device.type, enabled=False):
        return _MemoryLoss.apply(student, teacher, queue, student_temp, teacher_temp)


@torch.no_grad()
def teacher_entropy(
    teacher: Float[Tensor, "global batch dim"],
    keys: Float[Tensor, "rows dim"],
    row_modality: Int64[Tensor, " rows"],
    modality: Int64[Tensor, " batch"],
    *,
    permutation: Int64[Tensor, " rows"],
    num_blocks: int,
    teacher_temp: float,
    gate: bool = True,
) -> Float[Tensor, " batch"]:
    """The entropy in nats of the teacher's q for each image: a gauge of collapse, averaged by modality when logged.

    The mean over the global views and over the blocks that hold an admissible row; 0 where there is none. It falls to 0
    when the teacher always picks one row, and reaches the log of the admissible rows of a block when it picks none.
    """
    queue = _Queue(keys, row_modality, modality, permutation, num_blocks, gate)
    with torch.autocast(teacher.device.type, enabled=False):
        queries = teacher.to(_compute_dtype(teacher, keys)) / teacher_temp
        log_total, attended, num_blocks_met = queue.attend(queries)
        entropy = (log_total - (queries * attended).sum(-1)).mean(0)
        return entropy / num_blocks_met.clamp_min(1)


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


@dataclass(frozen=True, slots=True)
class _Part:
    """Some images (None: all), rows of one block for them, and which rows each may not meet (None: it meets all)."""

    images: Int64[Tensor, " images"] | None
    keys: Float[Tensor, "part dim"]
    excluded: Bool[Tensor, "batch part"] | None

    def attend(self, queries: Float[Tensor, "views images dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """Attend with queries that were divided by their temperature.

        Returns the log of the softmax's denominator [views images], the attention output, which is the mean of the keys
        under the softmax [views images dim], and 1 for each image that may meet a row, else 0 [images]. Where it is 0,
        the first two are 0.
        """
        # (views, images, dim) @ (dim, part) -> (views, images, part)
        logits = queries @ self.keys.T
        if self.excluded is None:
            meets_none = torch.zeros(queries.shape[1], dtype=torch.bool, device=queries.device)
        else:
            logits.masked_fill_(self.excluded, float("-inf"))
            meets_none = self.excluded.all(-1)
        largest = logits.amax(-1).masked_fill_(meets_none, 0.0)
        weights = logits.sub_(largest[..., None]).exp_()
        total = weights.sum(-1).masked_fill_(meets_none, 1.0)
        return largest + total.log(), (weights @ self.keys).div_(total[..., None]), ~meets_none


@dataclass(frozen=True, slots=True)
class _Queue:
    """The queue as one batch meets it, cut into blocks; no permuted copy of the whole queue exists."""

    keys: Tensor
    row_modality: Tensor
    modality: Tensor
    permutation: Tensor
    num_blocks: int
    gate: bool

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or len(self.keys) % self.num_blocks:
            raise ConfigError(
                "queue.blocks must divide queue.rows",
                expected=f"a divisor of {len(self.keys)}",
                found=self.num_blocks,
            )

    def attend(self, queries: Float[Tensor, "views batch dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """What `_Part.attend` returns for every image, summed over the blocks."""
        log_total = queries.new_zeros(queries.shape[:2])
        attended = torch.zeros_like(queries)
        num_met = torch.zeros_like(log_total[0])
        for part in self._parts(queries.dtype):
            if part.images is None:
                totals = part.attend(queries)
                for held, more in zip((log_total, attended, num_met), totals, strict=True):
                    held += more
            else:
                totals = part.attend(queries[:, part.images])
                log_total.index_add_(1, part.images, totals[0])
                attended.index_add_(1, part.images, totals[1])
                num_met.index_add_(0, part.images, totals[2].to(num_met.dtype))
        return log_total, attended, num_met

    def _parts(self, dtype: torch.dtype) -> Iterator[_Part]:
        if self.gate and _reads_are_free(self.keys.device):
            return self._parts_by_modality(dtype)
        return self._masked_blocks(dtype)

    def _masked_blocks(self, dtype: torch.dtype) -> Iterator[_Part]:
        """One part per block, with a mask: shapes do not depend on content, so nothing waits for the GPU."""
        for rows in self.permutation.chunk(self.num_blocks):
            row_modality = self.row_modality[rows]
            unwritten = row_modality == NOT_WRITTEN
            excluded = unwritten.expand(len(self.modality), -1)
            if self.gate:
                excluded = excluded | (row_modality != self.modality[:, None])
            # An unwritten key is NaN, and a weight of 0 times NaN would be NaN too.
            yield _Part(None, self.keys[rows].masked_fill_(unwritten[:, None], 0.0).to(dtype), excluded)

    def _parts_by_modality(self, dtype: torch.dtype) -> Iterator[_Part]:
        """One part per block and modality, without a mask: as many times less work as there are modalities."""
        groups = [
            (number, (self.modality == number).nonzero().flatten())
            for number in self.modality.unique().tolist()
            if number != NOT_WRITTEN
        ]
        for rows in self.permutation.chunk(self.num_blocks):
            row_modality = self.row_modality[rows]
            for number, images in groups:
                met = rows[row_modality == number]
                if len(met):
                    yield _Part(images, self.keys[met].to(dtype), None)


def _reads_are_free(device: torch.device) -> bool:
    """True where sizes may depend on content, because reading a tensor does not stop a queue of kernels."""
    return device.type == "cpu"


class _MemoryLoss(torch.autograd.Function):
    """The loss of each image, with the gradient to the student computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, queue: _Queue, student_temp: float, teacher_temp: float
    ) -> Tensor:
        num_views, num_global = len(student), len(teacher)
        dtype = _compute_dtype(student, teacher, queue.keys)
        # (views, batch, dim) and (global, batch, dim) -> (views + global, batch, dim)
        queries = torch.cat([student.to(dtype) / student_temp, teacher.to(dtype) / teacher_temp])
        log_total, attended, _ = queue.attend(queries)
        # Student view v is compared with every teacher view but its own: num_partners[v] of them.
        num_partners = torch.full((num_views, 1), float(num_global), dtype=dtype, device=student.device)
        num_partners[:num_global] -= 1
        partners = attended[num_views:].sum(0).repeat(num_views, 1, 1)
        partners[:num_global] -= attended[num_views:]
        scale = 1.0 / (queue.num_blocks * (num_global * num_views - num_global))
        matched = (queries[:num_views] * partners).sum(-1)
        losses = (num_partners * log_total[:num_views] - matched).sum(0) * scale
        gradient = (num_partners[..., None] * attended[:num_views] - partners) * (scale / student_temp)
        ctx.save_for_backward(gradient.to(student.dtype))
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        # (batch,) -> (1, batch, 1), against (views, batch, dim)
        return gradient * grad_losses[:, None].to(gradient.dtype), None, None, None, None
