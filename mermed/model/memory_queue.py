"""The memory queue: the newest teacher embeddings with their modalities, in a ring whose place is arithmetic."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mermed import keyed
from mermed.errors import ConfigError

NOT_WRITTEN = -1
GAUGE_ROWS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseGauge:
    """How alike the queue rows of one modality are, over `rows` of them.

    `effective_rank` is exp of the entropy of the normalised singular values (Roy and Vetterli 2007): 1 when all rows
    lie on a line, at most min(rows, dim). `mean_cosine` is the mean over pairs of different rows: 1 when all are equal.
    """

    rows: int
    effective_rank: float
    mean_cosine: float


class MemoryQueue(nn.Module):
    """K teacher embeddings and the modality of each; rows not yet written are NaN and have modality -1.

    No pointer is stored: image number n of the run (its slot) lies in row n % K until image n + K replaces it. Reading
    an unwritten row by mistake gives NaN, not a plausible number.
    """

    keys: Tensor
    row_modality: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.full((rows, dim), float("nan")))
        self.register_buffer("row_modality", torch.full((rows,), NOT_WRITTEN, dtype=torch.int64))

    @property
    def rows(self) -> int:
        """Length K of the ring."""
        return len(self.row_modality)

    @torch.no_grad()
    def write(self, embeddings: Float[Tensor, "batch dim"], modality: Int64[Tensor, " batch"], seen: int) -> None:
        """Write image i of the batch into row (seen + i) % K, where `seen` slots were consumed before this batch.

        The batch may wrap around the end of the ring. Raises ConfigError when it is larger than the queue.
        """
        batch = len(embeddings)
        if batch > self.rows:
            raise ConfigError("a batch must fit into the queue", expected=f"at most {self.rows} images", found=batch)
        begin = seen % self.rows
        before_end = min(batch, self.rows - begin)
        for source, target in ((0, begin), (before_end, 0)):
            count = before_end if source == 0 else batch - before_end
            self.keys[target : target + count].copy_(embeddings[source : source + count])
            self.row_modality[target : target + count].copy_(modality[source : source + count])

    def permutation(self, seed: int, step: int) -> Int64[Tensor, " rows"]:
        """The order that cuts the queue into blocks at `step`: drawn on the CPU, so equal on all ranks and devices."""
        generator = torch.Generator().manual_seed(keyed.key("queue blocks", seed, step))
        order = torch.randperm(self.rows, generator=generator)
        return order.to(self.keys.device, non_blocking=True)

    @torch.no_grad()
    def collapse_gauges(self) -> dict[int, CollapseGauge]:
        """A gauge per modality number with two rows or more, over at most 512 evenly spaced rows; waits for the GPU."""
        row_modality = self.row_modality.cpu()
        gauges = {}
        for modality in row_modality.unique().tolist():
            places = (row_modality == modality).nonzero().flatten()
            if modality == NOT_WRITTEN or len(places) < 2:
                continue
            count = min(len(places), GAUGE_ROWS)
            chosen = places[torch.arange(count) * len(places) // count]
            gauges[modality] = _collapse_gauge(self.keys[chosen.to(self.keys.device)].double().cpu())
        return gauges


def _collapse_gauge(embeddings: Float[Tensor, "rows dim"]) -> CollapseGauge:
    rows = len(embeddings)
    shares = torch.linalg.svdvals(embeddings)
    shares = shares / shares.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()
    unit = torch.nn.functional.normalize(embeddings, dim=-1)
    # The squared length of the sum holds every ordered pair, and each row with itself.
    cosine = (unit.sum(0).square().sum() - rows) / (rows * (rows - 1))
    return CollapseGauge(rows=rows, effective_rank=entropy.exp().item(), mean_cosine=cosine.item())
