"""The log of a run's steps: one reading every few steps, from the main rank; the others take part in its sums."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from mermed.stream.meters.watch import CAUSES
from mermed.train.checkpoint import RunState
from mermed.train.intake import Intake
from mermed.train.lenient import Lenient
from mermed.train.meters import LiveLine, MetricsWriter, StepClock
from mermed.train.prometheus import PrometheusFile
from mermed.train.readings import METRICS_NAME
from mermed.train.run import RunData
from mermed.train.step import StepResult, Trainer, all_gathered

_STALL_CAUSES = (*CAUSES, "other")


class StepLog:
    """Gathers readings over all ranks and writes them; a context manager on every rank."""

    def __init__(
        self, trainer: Trainer, data: RunData, intake: Intake, run: Path, console: Console, state: RunState
    ) -> None:
        self.clock = StepClock()
        self._trainer = trainer
        self._data = data
        self._intake = intake
        self._names = data.manifest.modalities
        is_main = trainer.world.is_main
        self._lenient = Lenient(partial(console.print, style="bold red", markup=False, soft_wrap=True))
        self._writer = MetricsWriter(run, state.step) if is_main else None
        self._line = LiveLine(console, trainer.config.train.steps, state.step) if is_main else None
        path = trainer.config.train.prometheus
        self._prometheus = PrometheusFile(Path(path), run.resolve().name) if is_main and path else None

    def write(self, state: RunState, result: StepResult) -> None:
        """Gather the reading of the step that led to `state`, then write and show it."""
        losses = self._by_modality(result.losses, result.modality)
        entropies = self._by_modality(result.entropies, result.modality)
        images = sum(count for _, count in losses.values())
        figures: dict[str, Any] = {
            "step": state.step,
            "slots": state.slots,
            "loss": sum(total for total, _ in losses.values()) / images,
            "loss_by_modality": {name: total / count for name, (total, count) in losses.items()},
            "teacher_entropy": {name: total / count for name, (total, count) in entropies.items()},
            "gradient_norm": float(result.gradient_norm),
            **self._collapse(),
            **asdict(result.schedule),
            **self.clock.read(),
            **self._stalls(),
            **self._accounts(state.slots),
            "queues": self._intake.queues(),
            "audit": f"{state.audit:016x}",
        }
        if self._writer is not None and self._line is not None:
            self._lenient.attempt(METRICS_NAME, partial(self._writer.write, figures))
            self._lenient.attempt("the console", partial(self._line.show, figures))
        if self._prometheus is not None:
            self._lenient.attempt("the file for Prometheus", partial(self._prometheus.write, figures))

    def _collapse(self) -> dict[str, dict[str, float]]:
        """How alike the queue's rows are: in a collapse the effective rank falls to 1 and the cosine rises to 1."""
        gauges = {self._names[number]: gauge for number, gauge in self._trainer.queue.collapse_gauges().items()}
        return {
            "queue_rank": {name: gauge.effective_rank for name, gauge in gauges.items()},
            "queue_cosine": {name: gauge.mean_cosine for name, gauge in gauges.items()},
        }

    def _stalls(self) -> dict[str, Any]:
        """Seconds waited for data by cause on the rank that waited longest, which rank, and the mean over ranks."""
        mine = self._intake.stalls.read()
        stalls = _gathered(self._trainer, np.array([mine.get(cause, 0.0) for cause in _STALL_CAUSES]))
        rank = int(stalls.sum(axis=1).argmax())
        return {
            "stall_s": {c: round(float(s), 4) for c, s in zip(_STALL_CAUSES, stalls[rank], strict=True) if s > 0.0},
            "stall_rank": rank,
            "stall_mean_s": round(float(stalls.sum(axis=1).mean()), 4),
        }

    def _accounts(self, slots: int) -> dict[str, Any]:
        """What was drawn of each source, what went wrong, and what the threads of the main rank spent their time on."""
        tally = self._intake.tally
        counted = tally.as_dict(world_sum(self._trainer, tally.vector()))
        ledger = {
            account.source: {
                **counted[account.source],
                "samples": account.samples,
                "draws": account.draws,
                "unique": account.unique,
                "repeats": account.repeats,
                "cycles": account.cycles,
            }
            for account in self._data.plan.ledger(slots)
        }
        replaced = int(sum(row["replaced"] for row in counted.values()))
        return {
            "ledger": ledger,
            "incidents": {**self._intake.watch.counts(), "replaced": replaced},
            "causes_s": {cause: round(spent_s, 3) for cause, spent_s in self._intake.watch.seconds().items()},
        }

    def _by_modality(self, values: Tensor, modality: Tensor) -> dict[str, tuple[float, int]]:
        """Sum and count of each modality's values over all ranks; modalities without an image are left out."""
        sums = torch.zeros(2, len(self._names), dtype=torch.float64, device=values.device)
        sums[0].index_add_(0, modality, values.double())
        sums[1].index_add_(0, modality, torch.ones_like(values, dtype=torch.float64))
        if self._trainer.world.num_ranks > 1:
            dist.all_reduce(sums)
        totals, counts = sums.tolist()
        return {
            name: (total, int(count)) for name, total, count in zip(self._names, totals, counts, strict=True) if count
        }

    def __enter__(self) -> "StepLog":
        if self._line is not None:
            self._line.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._writer is not None and self._line is not None:
            self._line.__exit__(*failure)
            self._lenient.attempt(METRICS_NAME, self._writer.close)


def world_sum(trainer: Trainer, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of `values` over all ranks; every rank must ask."""
    return _gathered(trainer, values).sum(axis=0)


def _gathered(trainer: Trainer, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The `values` of every rank, one row each."""
    if trainer.world.num_ranks == 1:
        return values[None]
    return torch.stack(all_gathered(torch.from_numpy(values).to(trainer.device))).cpu().numpy()
