"""The schedules at their first, peak and last steps, and between."""

import itertools
import math

import pytest

from mermed.config import OptimConfig, RunConfig, TrainConfig
from mermed.train.schedules import at

CONFIG = RunConfig(
    optim=OptimConfig(lr=5e-5, lr_end=1e-6, warmup=0.1, weight_decay=0.04, weight_decay_end=0.4),
    train=TrainConfig(steps=1000, batch=1024, teacher_temp=0.04, teacher_temp_end=0.07, ema=0.9995),
)


def test_the_learning_rate_starts_at_zero_peaks_after_warm_up_and_ends_as_set():
    assert at(CONFIG, 0).lr == 0.0
    assert at(CONFIG, 50).lr == pytest.approx(0.5 * 5e-5 * 4)
    assert at(CONFIG, 100).lr == pytest.approx(5e-5 * 1024 / 256)
    assert at(CONFIG, 999).lr == pytest.approx(1e-6)


def test_the_learning_rate_rises_then_falls_without_a_jump():
    rates = [at(CONFIG, step).lr for step in range(1000)]
    assert all(early < late for early, late in itertools.pairwise(rates[:101]))
    assert all(early > late for early, late in itertools.pairwise(rates[100:]))
    assert max(abs(late - early) for early, late in itertools.pairwise(rates)) <= max(rates) / 100 + 1e-12


def test_weight_decay_and_momentum_follow_half_a_cosine():
    for step in (0, 250, 500, 999):
        wave = (1 - math.cos(math.pi * step / 999)) / 2
        assert at(CONFIG, step).weight_decay == pytest.approx(0.04 + 0.36 * wave)
        assert at(CONFIG, step).ema == pytest.approx(0.9995 + 0.0005 * wave)
    assert at(CONFIG, 999).ema == 1.0


def test_the_teacher_gets_warmer_in_its_warm_up_and_then_stays():
    assert at(CONFIG, 0).teacher_temp == 0.04
    assert at(CONFIG, 50).teacher_temp == pytest.approx(0.055)
    assert at(CONFIG, 100).teacher_temp == at(CONFIG, 999).teacher_temp == pytest.approx(0.07)


def test_runs_of_one_step_and_without_warm_up_have_a_schedule():
    single = RunConfig(train=TrainConfig(steps=1))
    assert at(single, 0).lr == pytest.approx(2e-4)
    assert at(RunConfig(optim=OptimConfig(warmup=0.0)), 0).lr == pytest.approx(2e-4)
    assert at(RunConfig(train=TrainConfig(teacher_temp_warmup=0.0)), 0).teacher_temp == pytest.approx(0.07)
    assert at(RunConfig(optim=OptimConfig(warmup=1.0), train=TrainConfig(steps=10)), 9).lr < 2e-4


@pytest.mark.parametrize("step", [-1, 1000])
def test_a_step_outside_the_run_has_no_schedule(step):
    with pytest.raises(ValueError, match="lies outside a run of 1000 steps"):
        at(CONFIG, step)
