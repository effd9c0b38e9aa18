"""What changes from step to step, as pure functions of the step: learning rate, weight decay, temperature, momentum."""

import math
from dataclasses import dataclass

from mermed.config import RunConfig

LR_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSchedule:
    """The values of one optimiser step; `ema` is the teacher's momentum, `lr` is for the head (layer scale 1)."""

    lr: float
    weight_decay: float
    teacher_temp: float
    ema: float


def at(config: RunConfig, step: int) -> StepSchedule:
    """The values of 0-based `step` of a run (METHOD, "Optimiser").

    The learning rate rises linearly from 0 to `optim.lr * train.batch / 256` and falls along a cosine to `optim.lr_end`
    at the last step; weight decay and momentum follow a cosine over all steps, momentum up to 1; the temperature rises
    linearly, then stays. Raises ValueError for a step outside the run.
    """
    optim, train = config.optim, config.train
    if not 0 <= step < train.steps:
        raise ValueError(f"step {step} lies outside a run of {train.steps} steps")
    peak = optim.lr * train.batch / LR_BATCH
    lr_warmup, temp_warmup = round(optim.warmup * train.steps), round(train.teacher_temp_warmup * train.steps)
    if step < lr_warmup:
        lr = peak * step / lr_warmup
    else:
        lr = _cosine(peak, optim.lr_end, _share(step - lr_warmup, train.steps - lr_warmup))
    warmed = min(1.0, step / temp_warmup) if temp_warmup else 1.0
    done = _share(step, train.steps)
    return StepSchedule(
        lr=lr,
        weight_decay=_cosine(optim.weight_decay, optim.weight_decay_end, done),
        teacher_temp=train.teacher_temp + (train.teacher_temp_end - train.teacher_temp) * warmed,
        ema=_cosine(train.ema, 1.0, done),
    )


def _share(step: int, steps: int) -> float:
    """How far `step` of `steps` lies on the way to the last one, in [0, 1]."""
    return step / (steps - 1) if steps > 1 else 0.0


def _cosine(begin: float, end: float, share: float) -> float:
    """Half a cosine from `begin` (share 0) to `end` (share 1)."""
    return end + (begin - end) * (1.0 + math.cos(math.pi * share)) / 2.0
