"""The training run: schedules, losses, optimiser, step, loop, checkpoints, meters."""
