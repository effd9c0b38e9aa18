"""Whether every sample of an epoch comes once, when neither the batch nor the ranks divide the number of samples."""

from scorecard.cell import Cell
from scorecard.data import PRIME
from scorecard.rows.setting import Setting
from scorecard.sequences import cycle

TITLE = f"samples twice and never in one epoch of {PRIME.samples}, 1 and 3 ranks"
RANKS, GLOBAL_BATCH, MORE_BATCHES = (1, 3), 24, 8
"""Loaders that end an epoch with short batches need a few more steps to have given all samples."""


def row(setting: Setting) -> Cell:
    """One epoch over a prime number of samples."""
    figures, texts, exact = {}, [], True
    for num_ranks in setting.ranks(RANKS):
        batches = -(-PRIME.samples // GLOBAL_BATCH) + MORE_BATCHES
        answers = setting.run(PRIME, num_ranks, batch=GLOBAL_BATCH // num_ranks, batches=batches)
        found = cycle([answer["keys"] for answer in answers], PRIME.samples)
        figures[f"ranks {num_ranks}"] = {"twice": found.duplicates, "never": found.misses}
        texts.append(f"{found.duplicates} and {found.misses}")
        exact = exact and found.duplicates == found.misses == 0
    return Cell(text="; ".join(texts), passes=exact, figures=figures)
