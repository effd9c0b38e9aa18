"""The lean loop: step, log, save. A run goes from wherever its newest checkpoint stands to its last step."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor

from mermed.augment.draw import policy_table
from mermed.augment.engine import build_crops
from mermed.batch import CanvasBatch
from mermed.config import RunConfig
from mermed.errors import DivergenceError
from mermed.model.student_teacher import build_student_teacher
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import rank_shares
from mermed.stream.store import open_store
from mermed.train.checkpoint import RunState, has_checkpoints, restore_checkpoint, save_checkpoint
from mermed.train.meters import LiveLine, MetricsWriter, StepClock
from mermed.train.run import RunData, choose_device, make_deterministic, process_group, save_initial
from mermed.train.step import StepResult, Trainer
from mermed.world import World

AUDIT_MODULUS = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: its last state, and whether it was asked to stop before its last step."""

    state: RunState
    was_preempted: bool


def train(config: RunConfig, data: RunData, run: Path, world: World, console: Console, *, resume: bool) -> Outcome:
    """Train from the newest checkpoint (or from scratch) to `config.train.steps`, on this rank of `world`.

    SIGTERM and SIGUSR1 end it after the step in hand, with a checkpoint. Raises DivergenceError, IntegrityError.
    """
    device = choose_device(config, world)
    if config.train.deterministic:
        make_deterministic(device)
    with process_group(world, device):
        trainer, state = _prepare(config, data, run, world, device, console, resume=resume)
        return _run_steps(trainer, state, data, run, console)


def _prepare(
    config: RunConfig, data: RunData, run: Path, world: World, device: torch.device, console: Console, *, resume: bool
) -> tuple[Trainer, RunState]:
    """Build the trainer and bring it to where the run stands."""
    policies = policy_table(config.augment.policy, data.manifest.modalities)
    crops = build_crops(config.augment, policies, data.normalisation, config.stream.canvas_px, device)
    model, init_report = build_student_teacher(config.model, config.augment.global_px, config.seed)
    if init_report is not None and world.is_main:
        console.print(str(init_report), highlight=False)
    trainer = Trainer(config, policies, crops, model, world, device)
    if resume and has_checkpoints(run):
        state, skipped = restore_checkpoint(run, data.manifest.digest, trainer.model, trainer.queue, trainer.optimizer)
        if world.is_main:
            for name in skipped:
                console.print(
                    f"passed over a damaged checkpoint: {name}", style="bold red", markup=False, soft_wrap=True
                )
            console.print(
                f"resumed after step {state.step} ({state.slots} slots consumed)", highlight=False, soft_wrap=True
            )
        return trainer, state
    if world.is_main:
        save_initial(run, trainer.model)
        if resume:
            console.print("the run ended before its first checkpoint: starting at step 0, in the same order")
    return trainer, RunState(step=0, slots=0, audit=0, manifest_digest=data.manifest.digest)


def _run_steps(trainer: Trainer, state: RunState, data: RunData, run: Path, console: Console) -> Outcome:
    config, world = trainer.config, trainer.world
    with ExitStack() as stack:
        canvases = stack.enter_context(_open_stream(config, data, state, world, trainer.device))
        asked = stack.enter_context(_stop_on_signals())
        logger = stack.enter_context(_Logger(trainer, data, run, console, state))
        for step in range(state.step, config.train.steps):
            with logger.clock.waiting():
                batch = next(canvases)
            try:
                result = trainer.step(batch, step, asked.is_set)
            except DivergenceError as error:
                error.add_place(keys_in=_dump_batch(batch, step, run, world).name)
                raise
            logger.clock.count(config.train.batch)
            state = replace(
                state, step=step + 1, slots=batch.position.slots, audit=(state.audit + result.audit) % AUDIT_MODULUS
            )
            is_last = result.stop_asked or state.step == config.train.steps
            if is_last or state.step % config.train.log_every == 0:
                logger.log(state, result, canvases.stats())
            if is_last or state.step % config.train.checkpoint_every == 0:
                _save(trainer, state, run)
            if result.stop_asked:
                return Outcome(state=state, was_preempted=state.step < config.train.steps)
    return Outcome(state=state, was_preempted=False)


def _dump_batch(batch: CanvasBatch, step: int, run: Path, world: World) -> Path:
    """Write which samples this rank's batch held, for whoever looks for the one that broke the step."""
    path = run / f"diverged-step-{step:09d}-rank-{world.rank}.json"
    content = {"step": step, "slots": batch.slot.tolist(), "keys": [meta.key for meta in batch.meta]}
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def _save(trainer: Trainer, state: RunState, run: Path) -> None:
    """Let the main rank write a checkpoint while the others wait."""
    if trainer.world.is_main:
        save_checkpoint(run, state, trainer.model, trainer.queue, trainer.optimizer, trainer.config.train.keep_last)
    if trainer.world.num_ranks > 1:
        dist.barrier()


def _open_stream(config: RunConfig, data: RunData, state: RunState, world: World, device: torch.device) -> CanvasStream:
    """The canvases of this rank from where the run stands to its end."""
    stream = config.stream
    offsets = world.share(config.train.batch)
    return CanvasStream(
        data.plan,
        open_store(data.shards),
        rank_shares(state.slots, config.train.batch, offsets, config.train.steps - state.step),
        batch=len(offsets),
        canvas_px=stream.canvas_px,
        num_threads=stream.num_threads or max(1, (os.cpu_count() or 1) // world.ranks_per_node),
        ahead=stream.batches_ahead,
        pin=device.type == "cuda",
    )


@dataclass(slots=True)
class _StopFlag:
    is_set: bool = False

    def set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


@contextmanager
def _stop_on_signals() -> Iterator[_StopFlag]:
    """Turn SIGTERM and SIGUSR1 into a flag that is looked at between steps."""
    flag = _StopFlag()
    former = {number: signal.signal(number, flag.set) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _Logger:
    """Writes one reading of the run every few steps, from the main rank; the others take part in its sums."""

    def __init__(self, trainer: Trainer, data: RunData, run: Path, console: Console, state: RunState) -> None:
        self.clock = StepClock()
        self._trainer = trainer
        self._names = data.manifest.modalities
        is_main = trainer.world.is_main
        self._writer = MetricsWriter(run, state.step) if is_main else None
        self._line = LiveLine(console, trainer.config.train.steps, state.step) if is_main else None

    def log(self, state: RunState, result: StepResult, queues: Mapping[str, float]) -> None:
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
            "queues": dict(queues),
            "audit": f"{state.audit:016x}",
        }
        if self._writer is not None and self._line is not None:
            self._writer.write(figures)
            self._line.show(figures)

    def _collapse(self) -> dict[str, dict[str, float]]:
        """How alike the queue's rows are: in a collapse the effective rank falls to 1 and the cosine rises to 1."""
        gauges = {self._names[number]: gauge for number, gauge in self._trainer.queue.collapse_gauges().items()}
        return {
            "queue_rank": {name: gauge.effective_rank for name, gauge in gauges.items()},
            "queue_cosine": {name: gauge.mean_cosine for name, gauge in gauges.items()},
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

    def __enter__(self) -> "_Logger":
        if self._line is not None:
            self._line.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._writer is not None and self._line is not None:
            self._line.__exit__(*failure)
            self._writer.close()
