"""The lean loop: step, log, save. A run goes from wherever its newest checkpoint stands to its last step."""

import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from rich.console import Console

from mermed.batch import ViewBatch
from mermed.config import RunConfig
from mermed.errors import DivergenceError
from mermed.model.student_teacher import build_student_teacher
from mermed.train.checkpoint import RunState, has_checkpoints, restore_checkpoint, save_checkpoint
from mermed.train.intake import Intake, open_intake
from mermed.train.run import RunData, choose_device, make_deterministic, process_group, save_initial
from mermed.train.step import Trainer
from mermed.train.step_log import StepLog, world_sum
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
    with process_group(world, device, config.stream.patience_s):
        trainer, state = _prepare(config, data, run, world, device, console, resume=resume)
        return _run_steps(trainer, state, data, run, console)


def _prepare(
    config: RunConfig, data: RunData, run: Path, world: World, device: torch.device, console: Console, *, resume: bool
) -> tuple[Trainer, RunState]:
    """Build the trainer and bring it to where the run stands."""
    model, init_report = build_student_teacher(config.model, config.augment.global_px, config.seed)
    if init_report is not None and world.is_main:
        console.print(str(init_report), highlight=False)
    if data.tombstones and world.is_main:
        console.print(f"{len(data.tombstones)} keys are withdrawn and will not be drawn", highlight=False)
    trainer = Trainer(config, model, world, device)
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
        intake = stack.enter_context(_open_intake(trainer, state, data, run, console))
        asked = stack.enter_context(_stop_on_signals())
        log = stack.enter_context(StepLog(trainer, data, intake, run, console, state))
        for step in range(state.step, config.train.steps):
            try:
                with log.clock.waiting(), asked.raising(world.num_ranks == 1):
                    batch = next(intake)
            except _StopWhileWaiting:
                _save(trainer, state, intake, run)
                return Outcome(state=state, was_preempted=True)
            try:
                result = trainer.step(batch, step, asked.is_set)
            except DivergenceError as error:
                error.add_place(keys_in=_dump_batch(batch, step, run, world).name)
                raise
            log.clock.count(config.train.batch)
            intake.tally.commit(batch.slot)
            state = replace(
                state, step=step + 1, slots=batch.position.slots, audit=(state.audit + result.audit) % AUDIT_MODULUS
            )
            is_last = result.stop_asked or state.step == config.train.steps
            if is_last or state.step % config.train.log_every == 0:
                log.write(state, result)
            if is_last or state.step % config.train.checkpoint_every == 0:
                _save(trainer, state, intake, run)
            if result.stop_asked:
                return Outcome(state=state, was_preempted=state.step < config.train.steps)
    return Outcome(state=state, was_preempted=False)


def _dump_batch(batch: ViewBatch, step: int, run: Path, world: World) -> Path:
    """Write which samples this rank's batch held, for whoever looks for the one that broke the step."""
    path = run / f"diverged-step-{step:09d}-rank-{world.rank}.json"
    content = {"step": step, "slots": batch.slot.tolist(), "keys": [meta.key for meta in batch.meta]}
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def _save(trainer: Trainer, state: RunState, intake: Intake, run: Path) -> None:
    """Let the main rank write a checkpoint while the others wait."""
    ledger = intake.tally.as_dict(world_sum(trainer, intake.tally.vector()))
    if trainer.world.is_main:
        state = replace(state, ledger=ledger)
        save_checkpoint(run, state, trainer.model, trainer.queue, trainer.optimizer, trainer.config.train.keep_last)
    if trainer.world.num_ranks > 1:
        dist.barrier()


def _open_intake(
    trainer: Trainer, state: RunState, data: RunData, run: Path, console: Console
) -> AbstractContextManager[Intake]:
    """The batches of this rank from where the run stands to its end."""
    return open_intake(
        trainer.config,
        data,
        trainer.world,
        trainer.device,
        console,
        first_slot=state.slots,
        num_batches=trainer.config.train.steps - state.step,
        ledger=state.ledger,
        run=run,
    )


class _StopWhileWaiting(Exception):
    """The run was asked to stop while it waited for data."""


@dataclass(slots=True)
class _StopFlag:
    is_set: bool = False
    may_raise: bool = False

    def set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True
        if self.may_raise:
            self.may_raise = False
            raise _StopWhileWaiting

    @contextmanager
    def raising(self, alone: bool) -> Iterator[None]:
        """Let a signal break the wait in the body, which may be for a store that is down.

        Only for a rank that is alone: others would wait in a collective for one that left.
        """
        if alone and self.is_set:
            raise _StopWhileWaiting
        self.may_raise = alone
        try:
            yield
        finally:
            self.may_raise = False


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
